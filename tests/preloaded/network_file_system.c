/* A network file system for a process into which this library is preloaded: statfs says that every folder below
 * $NETWORK_FOLDER is on one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

int statfs(const char *path, struct statfs *found) {
    static int (*real)(const char *, struct statfs *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "statfs");
    int code = real(path, found);
    const char *folder = getenv("NETWORK_FOLDER");
    if (!code && folder && !strncmp(path, folder, strlen(folder))) found->f_type = 0x6969; /* NFS_SUPER_MAGIC */
    return code;
}
