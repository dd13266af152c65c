/* Writes the calls by which a process changes files to the descriptor in $CALLS, one per line, as they return:
 * "write PATH", "fsync PATH", "rename FROM TO". What a disk still has after a loss of power follows from their order. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t (*real_write)(int, const void *, size_t);

static int calls(void) {
    const char *number = getenv("CALLS");
    return number ? atoi(number) : -1;
}

static void say(const char *call, const char *first, const char *second) {
    char line[2 * PATH_MAX + 32];
    int length = snprintf(line, sizeof line, "%s %s%s%s\n", call, first, second ? " " : "", second ? second : "");
    if (!real_write) *(void **)&real_write = dlsym(RTLD_NEXT, "write");
    if (calls() >= 0 && real_write(calls(), line, length) != length) abort();
}

static void say_descriptor(const char *call, int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0 && path[0] == '/') {
        path[length] = 0;
        say(call, path, NULL);
    }
}

ssize_t write(int descriptor, const void *data, size_t size) {
    if (!real_write) *(void **)&real_write = dlsym(RTLD_NEXT, "write");
    ssize_t written = real_write(descriptor, data, size);
    if (written > 0 && descriptor != calls()) say_descriptor("write", descriptor);
    return written;
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
    ssize_t written = real(descriptor, data, size, offset);
    if (written > 0) say_descriptor("write", descriptor);
    return written;
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    return pwrite64(descriptor, data, size, offset);
}

int fsync(int descriptor) {
    static int (*real)(int);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    int code = real(descriptor);
    if (!code) say_descriptor("fsync", descriptor);
    return code;
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "rename");
    int code = real(from, to);
    if (!code) say("rename", from, to);
    return code;
}

int mkdir(const char *path, mode_t mode) {
    static int (*real)(const char *, mode_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "mkdir");
    int code = real(path, mode);
    if (!code) say("mkdir", path, NULL);
    return code;
}
