/* A machine's clock that is wrong for one process: loaded before its libraries, it adds to the time of day the seconds
 * that are in the file WRONG_CLOCK names, a 64-bit integer which may change at any moment. Monotonic clocks stay right.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *wrong_by;

__attribute__((constructor)) static void find_file(void) {
    const char *path = getenv("WRONG_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *wrong_by, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) wrong_by = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && wrong_by && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *wrong_by;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (result) *result = exact.tv_sec;
    return exact.tv_sec;
}

/* Who waits until a time of day has computed it by the wrong clock, and the kernel goes by its own. */
static struct timespec by_the_kernel(const struct timespec *until) {
    long long wrong = wrong_by ? *wrong_by : 0;
    struct timespec right = *until, now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    /* Others wait until a moment of the monotonic clock, which is right and counts from the start of the machine. */
    if (until->tv_sec <= 1000000000) return right;
    if (llabs(until->tv_sec - now.tv_sec - wrong) < llabs(until->tv_sec - now.tv_sec)) right.tv_sec -= wrong;
    /* Nobody waits for an hour: the clock was set after the moment had been computed. */
    if (right.tv_sec - now.tv_sec > 3600) right.tv_sec = now.tv_sec + 1;
    return right;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!wait) {
        /* Trap: without its version, the symbol may be one of the last century with another layout of conditions. */
        *(void **)&wait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
        if (!wait) *(void **)&wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    }
    struct timespec right = by_the_kernel(until);
    return wait(condition, mutex, &right);
}

/* Trap: librdkafka waits by this one, which does not lead to the one above. */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static int (*wait)(cnd_t *, mtx_t *, const struct timespec *);
    if (!wait) *(void **)&wait = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec right = by_the_kernel(until);
    return wait(condition, mutex, &right);
}
