/* A disk or file server that fails for a while: the first $FAILURES reads of files whose path contains $FAILING end
 * with the error number $ERROR. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t read(int descriptor, void *data, size_t size) {
    static ssize_t (*real)(int, void *, size_t);
    static int failed;
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "read");
    const char *part = getenv("FAILING"), *most = getenv("FAILURES"), *number = getenv("ERROR");
    if (part && most && number && failed < atoi(most)) {
        char link[64], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            if (strstr(path, part)) {
                failed++;
                errno = atoi(number);
                return -1;
            }
        }
    }
    return real(descriptor, data, size);
}
