/* The wall clock is shifted by as many milliseconds as a file says: a box that booted in 1970, and whose clock is set later.
 * Which boot it is stands in another file. Loaded in front of the C library (LD_PRELOAD); the files
 * are named by SHIFTED_CLOCK and SHIFTED_BOOT_ID. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static volatile const long long *shift_ms;
static int (*real)(clockid_t, struct timespec *);
static int (*real_open)(const char *, int, ...);

__attribute__((constructor)) static void begin(void) {
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *name = getenv("SHIFTED_CLOCK");
    int file = name ? open(name, O_RDONLY) : -1;
    void *at = file < 0 ? MAP_FAILED : mmap(0, sizeof *shift_ms, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED)
        shift_ms = at;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real)
        begin();
    int status = real(clock, now);
    if (clock == CLOCK_REALTIME && shift_ms) {
        long long ms = *shift_ms;
        long long ns = now->tv_nsec + (ms % 1000) * 1000000;
        now->tv_sec += ms / 1000;
        if (ns < 0) {
            ns += 1000000000;
            now->tv_sec--;
        } else if (ns >= 1000000000) {
            ns -= 1000000000;
            now->tv_sec++;
        }
        now->tv_nsec = ns;
    }
    return status;
}

int open64(const char *path, int flags, ...) {
    if (!real_open)
        real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    const char *boot_id = getenv("SHIFTED_BOOT_ID");
    if (boot_id && !strcmp(path, "/proc/sys/kernel/random/boot_id"))
        path = boot_id;
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    return real_open(path, flags, mode);
}
