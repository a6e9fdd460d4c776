/* Faults of the file system and of the clock, for benchmarks/faults.py: loaded by LD_PRELOAD, armed through ctypes.

   Calls of the C library that concern files below one folder are counted by kind. From the chosen call on, or at that
   call only, the process is killed, gets a signal, the call fails or is done in part, or the clock is moved. All calls
   can be recorded with the data that they write, from which the disk after a loss of power is reconstructed. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The same order as in faults_injection.py. */
enum kind { OPEN_READ, READ, CREATE, WRITE, FSYNC, RENAME, UNLINK, MKDIR, TRUNCATE, KINDS };
enum action { NONE, KILL, KILL_HALF, FAIL, FAIL_ON, SHORT_ON, SIGNAL, CLOCK };

static char folder[PATH_MAX];
static size_t length; /* of folder; 0: not armed */
static unsigned kinds, failing; /* masks of kinds: those that are counted for the fault, and those that then fail */
static long nth, seen, counts[KINDS];
static int action, value, tracing = -1;
static volatile long offset; /* seconds added to the time of day */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

void faults_arm(const char *path, unsigned counted, unsigned then, long number, int what, int how) {
    memset(counts, 0, sizeof counts);
    seen = 0, kinds = counted, failing = then, nth = number, action = what, value = how;
    snprintf(folder, sizeof folder, "%s", path);
    length = strlen(folder);
}

void faults_disarm(void) { length = 0, offset = 0, tracing = -1; }

void faults_trace(int descriptor) { tracing = descriptor; }

void faults_counts(long *result) { memcpy(result, counts, sizeof counts); }

/* Write the absolute path of `path` relative to a directory, or of an open file, and return whether it is watched. */
static int watched(int directory, const char *path, char *absolute) {
    if (!length) return 0;
    int kept = errno;
    size_t used = 0;
    if (!path || path[0] != '/') {
        char link[64];
        if (directory == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        long size = syscall(SYS_readlinkat, AT_FDCWD, link, absolute, PATH_MAX - 1);
        errno = kept;
        if (size < 0) return 0;
        used = (size_t)size;
        absolute[used] = 0;
    }
    if (path) snprintf(absolute + used, PATH_MAX - used, "%s%s", used ? "/" : "", path);
    return !strncmp(absolute, folder, length) && (absolute[length] == '/' || !absolute[length]);
}

/* Count a call, and return what happens at it: NONE, KILL_HALF, FAIL with errno set, or SHORT_ON. */
static int fault(enum kind kind) {
    __atomic_add_fetch(&counts[kind], 1, __ATOMIC_SEQ_CST);
    long number = kinds >> kind & 1 ? __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) : 0;
    int now = number == nth, later = seen > nth && failing >> kind & 1;
    if (nth <= 0 || !(now || later)) return NONE;
    switch (action) {
    case KILL:
        if (now) syscall(SYS_kill, getpid(), SIGKILL);
        return NONE;
    case KILL_HALF: return now ? KILL_HALF : NONE;
    case SHORT_ON: return SHORT_ON;
    case FAIL_ON: errno = value; return FAIL;
    case FAIL: if (now) errno = value; return now ? FAIL : NONE;
    case SIGNAL: if (now) kill(getpid(), value); return NONE;
    case CLOCK: if (now) offset = value; return NONE;
    }
    return NONE;
}

static void trace(const char *what, const char *path, const char *other, long number, const void *data, size_t size) {
    if (tracing < 0) return;
    char line[2 * PATH_MAX + 64];
    int used = snprintf(line, sizeof line, "%s\t%s\t%s\t%ld\t%zu\n", what, path, other, number, size);
    syscall(SYS_write, tracing, line, used);
    for (size_t done = 0; done < size;) done += syscall(SYS_write, tracing, (const char *)data + done, size - done);
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
/* A watched call in the order of the trace. */
#define TRACED(call, ...) \
    pthread_mutex_lock(&order); \
    __typeof__(call) result = call; \
    if (result >= 0) trace(__VA_ARGS__); \
    pthread_mutex_unlock(&order); \
    return result

static int opened(int (*real)(int, const char *, int, ...), int directory, const char *path, int flags, mode_t mode) {
    char absolute[PATH_MAX];
    if (!watched(directory, path, absolute)) return real(directory, path, flags, mode);
    int writes = flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR);
    if (fault(writes ? CREATE : OPEN_READ) == FAIL) return -1;
    if (!writes || flags & O_DIRECTORY) return real(directory, path, flags, mode);
    TRACED(real(directory, path, flags, mode), flags & O_TRUNC ? "empty" : "create", absolute, "", 0, NULL, 0);
}

#define OPEN(name, real_name, ...) \
    { \
        static int (*real)(int, const char *, int, ...); \
        if (!real) real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #real_name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list arguments; \
            va_start(arguments, flags); \
            mode = va_arg(arguments, mode_t); \
            va_end(arguments); \
        } \
        return opened(real, __VA_ARGS__, path, flags, mode); \
    }
int open(const char *path, int flags, ...) OPEN(open, openat, AT_FDCWD)
int open64(const char *path, int flags, ...) OPEN(open64, openat64, AT_FDCWD)
int openat(int directory, const char *path, int flags, ...) OPEN(openat, openat, directory)
int openat64(int directory, const char *path, int flags, ...) OPEN(openat64, openat64, directory)

static ssize_t written(int file, const void *data, size_t size, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t);
    static ssize_t (*real_at)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (!real_at) real_at = dlsym(RTLD_NEXT, "pwrite64");
    char absolute[PATH_MAX];
    if (!watched(file, NULL, absolute)) return at < 0 ? real(file, data, size) : real_at(file, data, size, at);
    int happens = fault(WRITE);
    if (happens == FAIL) return -1;
    if (happens) size = size > 1 ? size / 2 : size;
    pthread_mutex_lock(&order);
    off64_t start = at;
    if (at < 0) {
        struct stat status;
        int appends = fcntl(file, F_GETFL) & O_APPEND && !fstat(file, &status);
        start = appends ? status.st_size : lseek64(file, 0, SEEK_CUR);
    }
    ssize_t result = at < 0 ? real(file, data, size) : real_at(file, data, size, at);
    if (happens == KILL_HALF) syscall(SYS_kill, getpid(), SIGKILL);
    if (result > 0) trace("write", absolute, "", start, data, (size_t)result);
    pthread_mutex_unlock(&order);
    return result;
}

ssize_t write(int file, const void *data, size_t size) { return written(file, data, size, -1); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return written(file, data, size, at); }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { return written(file, data, size, at); }
ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    char absolute[PATH_MAX];
    if (!watched(file, NULL, absolute)) return real(file, parts, count);
    for (int part = 0; part < count; part++) /* in part, as writev may */
        if (parts[part].iov_len) return written(file, parts[part].iov_base, parts[part].iov_len, -1);
    return 0;
}
ssize_t sendfile(int out, int in, off_t *at, size_t size) { /* an error makes Python read and write instead */
    REAL(sendfile);
    char absolute[PATH_MAX];
    if (!watched(out, NULL, absolute)) return real(out, in, at, size);
    errno = EINVAL;
    return -1;
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t size) { return sendfile(out, in, (off_t *)at, size); }

ssize_t read(int file, void *data, size_t size) {
    REAL(read);
    char absolute[PATH_MAX];
    if (watched(file, NULL, absolute)) {
        int happens = fault(READ);
        if (happens == FAIL) return -1;
        if (happens == SHORT_ON && size > 1) size /= 2;
    }
    return real(file, data, size);
}

#define FILE_CALL(name, kind, what) \
    { \
        REAL(name); \
        char absolute[PATH_MAX]; \
        if (!watched(file, NULL, absolute)) return real(file); \
        if (fault(kind) == FAIL) return -1; \
        TRACED(real(file), what, absolute, "", 0, NULL, 0); \
    }
int fsync(int file) FILE_CALL(fsync, FSYNC, "sync")
int fdatasync(int file) FILE_CALL(fdatasync, FSYNC, "sync")

#define PATH_CALL(name, kind, what, directory, number, ...) \
    { \
        REAL(name); \
        char absolute[PATH_MAX]; \
        if (!watched(directory, path, absolute)) return real(__VA_ARGS__); \
        if (fault(kind) == FAIL) return -1; \
        TRACED(real(__VA_ARGS__), what, absolute, "", number, NULL, 0); \
    }
int unlink(const char *path) PATH_CALL(unlink, UNLINK, "unlink", AT_FDCWD, 0, path)
int rmdir(const char *path) PATH_CALL(rmdir, UNLINK, "unlink", AT_FDCWD, 0, path)
int unlinkat(int at, const char *path, int flags) PATH_CALL(unlinkat, UNLINK, "unlink", at, 0, at, path, flags)
int mkdir(const char *path, mode_t mode) PATH_CALL(mkdir, MKDIR, "mkdir", AT_FDCWD, 0, path, mode)
int mkdirat(int at, const char *path, mode_t mode) PATH_CALL(mkdirat, MKDIR, "mkdir", at, 0, at, path, mode)
int truncate(const char *path, off_t size) PATH_CALL(truncate, TRUNCATE, "cut", AT_FDCWD, size, path, size)
int truncate64(const char *path, off64_t size) PATH_CALL(truncate64, TRUNCATE, "cut", AT_FDCWD, size, path, size)
#define path NULL
int ftruncate(int file, off_t size) PATH_CALL(ftruncate, TRUNCATE, "cut", file, size, file, size)
int ftruncate64(int file, off64_t size) PATH_CALL(ftruncate64, TRUNCATE, "cut", file, size, file, size)
#undef path

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    REAL(renameat2);
    char absolute[PATH_MAX], other[PATH_MAX];
    if (!watched(from, old, absolute) | !watched(to, new, other)) return real(from, old, to, new, flags);
    if (fault(RENAME) == FAIL) return -1;
    TRACED(real(from, old, to, new, flags), "rename", absolute, other, 0, NULL, 0);
}
int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME && !result) now->tv_sec += offset;
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(gettimeofday);
    int result = real(now, zone);
    if (!result) now->tv_sec += offset;
    return result;
}
time_t time(time_t *result) {
    REAL(time);
    time_t now = real(NULL) + offset;
    if (result) *result = now;
    return now;
}
