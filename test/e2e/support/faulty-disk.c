/*
 * A library that is loaded before libc (LD_PRELOAD) and makes calls on certain files fail, as a failing disk does, and
 * the clock wrong. What it does stands in the file that FAULTS names, read anew at each call:
 *
 *   <read|write|sync|rename> <EIO|short> <part of the path> [<from this offset on>]
 *   clock <seconds>
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum fault { NONE, FAIL, SHORT };

/* The rules, through system calls of our own, for the usual functions are the ones below. */
static size_t rules(char *text, size_t room) {
  const char *path = getenv("FAULTS");
  if (path == NULL) return 0;
  long file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  long length = syscall(SYS_read, file, text, room - 1);
  syscall(SYS_close, file);
  if (length < 0) length = 0;
  text[length] = 0;
  return (size_t)length;
}

static enum fault fault_of_path(const char *what, const char *path, off64_t offset) {
  char text[2048];
  if (rules(text, sizeof text) == 0) return NONE;
  char *rest;
  for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
    char call[16], kind[16], part[1024];
    long long from = 0;
    if (sscanf(line, "%15s %15s %1023s %lld", call, kind, part, &from) < 3) continue;
    if (strcmp(call, what) != 0 || strstr(path, part) == NULL || offset < from) continue;
    return strcmp(kind, "short") == 0 ? SHORT : FAIL;
  }
  return NONE;
}

static enum fault fault_of(const char *what, int fd, off64_t offset) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0 || path[0] != '/') return NONE;
  path[length] = 0;
  return fault_of_path(what, path, offset);
}

static int fails(enum fault fault) {
  if (fault == FAIL) errno = EIO;
  return fault == FAIL;
}

/* A short read gives half of what was asked for, and never nothing. */
static size_t some(enum fault fault, size_t length) { return fault == SHORT && length > 1 ? length / 2 : length; }

#define NEXT(name, type) ((type)dlsym(RTLD_NEXT, name))

ssize_t read(int fd, void *to, size_t length) {
  enum fault fault = fault_of("read", fd, 0);
  return fails(fault) ? -1 : syscall(SYS_read, fd, to, some(fault, length));
}
ssize_t pread64(int fd, void *to, size_t length, off64_t at) {
  enum fault fault = fault_of("read", fd, at + (off64_t)length - 1);
  return fails(fault) ? -1 : syscall(SYS_pread64, fd, to, some(fault, length), at);
}
ssize_t pread(int fd, void *to, size_t length, off_t at) { return pread64(fd, to, length, at); }
ssize_t preadv64(int fd, const struct iovec *to, int count, off64_t at) {
  return count < 1 ? 0 : pread64(fd, to[0].iov_base, to[0].iov_len, at);
}
ssize_t preadv(int fd, const struct iovec *to, int count, off_t at) { return preadv64(fd, to, count, at); }
ssize_t write(int fd, const void *from, size_t length) {
  return fails(fault_of("write", fd, 0)) ? -1 : syscall(SYS_write, fd, from, length);
}
ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
  return fails(fault_of("write", fd, at + (off64_t)length - 1)) ? -1 : syscall(SYS_pwrite64, fd, from, length, at);
}
ssize_t pwrite(int fd, const void *from, size_t length, off_t at) { return pwrite64(fd, from, length, at); }
ssize_t pwritev64(int fd, const struct iovec *from, int count, off64_t at) {
  return count < 1 ? 0 : pwrite64(fd, from[0].iov_base, from[0].iov_len, at);
}
ssize_t pwritev(int fd, const struct iovec *from, int count, off_t at) { return pwritev64(fd, from, count, at); }
int fsync(int fd) { return fails(fault_of("sync", fd, 0)) ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fails(fault_of("sync", fd, 0)) ? -1 : (int)syscall(SYS_fdatasync, fd); }
int rename(const char *from, const char *to) {
  if (fails(fault_of_path("rename", to, 0))) return -1;
  return NEXT("rename", int (*)(const char *, const char *))(from, to);
}

static long long offset_of_clock(void) {
  char text[2048];
  rules(text, sizeof text);
  const char *line = strstr(text, "clock ");
  return line == NULL ? 0 : atoll(line + 6);
}
int clock_gettime(clockid_t clock, struct timespec *to) {
  long status = syscall(SYS_clock_gettime, clock, to);
  if (status == 0 && clock == CLOCK_REALTIME) to->tv_sec += offset_of_clock();
  return (int)status;
}
int gettimeofday(struct timeval *restrict to, void *restrict zone) {
  long status = syscall(SYS_gettimeofday, to, zone);
  if (status == 0) to->tv_sec += offset_of_clock();
  return (int)status;
}
time_t time(time_t *to) {
  struct timeval now;
  gettimeofday(&now, NULL);
  if (to != NULL) *to = now.tv_sec;
  return now.tv_sec;
}
