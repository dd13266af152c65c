/* A host's clock that is set twice in every two seconds: back by 25.7 s, and forward again. The monotonic clock goes on
 * as ever. The host is that of the task whose TF_CONFIG contains $STEPPED. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);

static int is_stepped(void) {
    const char *config = getenv("TF_CONFIG"), *part = getenv("STEPPED");
    struct timespec now;
    return config && part && strstr(config, part) && !real(CLOCK_MONOTONIC, &now) && now.tv_sec % 2;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, now);
    if (!code && clock == CLOCK_REALTIME && is_stepped()) {
        long long stepped = now->tv_sec * 1000000000LL + now->tv_nsec - 25700000000LL;
        now->tv_sec = stepped / 1000000000LL;
        now->tv_nsec = stepped % 1000000000LL;
    }
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int code = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return code;
}
