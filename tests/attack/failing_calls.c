/* Loaded before the C library: once armed, the n-th call of one kind on a regular file fails.

   A write that fails has written half of its bytes, as a disk does that fills up.
   Kinds: 0 write, 1 fsync, 2 rename. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

static volatile int armed = -1, left, failed;

void attack_arm(int kind, int n) { failed = 0; left = n; armed = kind; }
int attack_disarm(void) { armed = -1; return failed; } /* how many calls failed */

static int fails(int kind) {
    if (armed != kind || __sync_sub_and_fetch(&left, 1) != 0) return 0;
    failed++;
    return 1;
}
static int is_file(int fd) {
    struct stat status;
    return fd > 2 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}
#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (armed == 0 && is_file(fd) && fails(0)) { real(fd, data, size / 2); errno = ENOSPC; return -1; }
    return real(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (armed == 0 && is_file(fd) && fails(0)) { errno = ENOSPC; return -1; }
    return real(fd, parts, count);
}
int fsync(int fd) {
    REAL(fsync);
    if (fails(1)) { errno = EIO; return -1; }
    return real(fd);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    if (fails(2)) { errno = EIO; return -1; }
    return real(from, to);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(renameat);
    if (fails(2)) { errno = EIO; return -1; }
    return real(from_folder, from, to_folder, to);
}
