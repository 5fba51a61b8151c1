/* System calls of one process tree that fail, or send a signal, at their n-th turn.
 *
 * Loaded with LD_PRELOAD. Only calls on paths below FAULT_ROOT count. The count is shared by all
 * processes of the tree through the file FAULT_COUNTER (8 bytes).
 *   FAULT_OP      open write read fsync rename mkdir unlink
 *   FAULT_AT      the turn, from 1; 0 only counts
 *   FAULT_ALWAYS  1: every turn from that one on
 *   FAULT_ERRNO   the error of the call, or 0
 *   FAULT_SIGNAL  the signal to send before the call, or 0; FAULT_GROUP 1: to the whole group
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX], operation[16];
static long *counter, turn;
static int always, error_number, signal_number, group, armed;

static long number(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : 0;
}

/* Read the variables. Python calls it after a fork; a new process calls it when it is loaded. */
__attribute__((constructor)) void fault_arm(void) {
  armed = 0;
  const char *path = getenv("FAULT_COUNTER"), *op = getenv("FAULT_OP"), *below = getenv("FAULT_ROOT");
  if (!path || !op || !below) return;
  int descriptor = open(path, O_RDWR);
  if (descriptor < 0) return;
  counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  close(descriptor);
  if (counter == MAP_FAILED) return;
  snprintf(root, sizeof root, "%s", below);
  snprintf(operation, sizeof operation, "%s", op);
  turn = number("FAULT_AT");
  always = number("FAULT_ALWAYS");
  error_number = number("FAULT_ERRNO");
  signal_number = number("FAULT_SIGNAL");
  group = number("FAULT_GROUP");
  armed = 1;
}

static int is_below(const char *path) {
  char whole[PATH_MAX];
  if (path[0] != '/') {
    if (!getcwd(whole, sizeof whole)) return 0;
    size_t length = strlen(whole);
    snprintf(whole + length, sizeof whole - length, "/%s", path);
    path = whole;
  }
  return strncmp(path, root, strlen(root)) == 0;
}

/* 1: this call has to fail. */
static int fails(const char *op, const char *path) {
  if (!armed || strcmp(op, operation) || !path || !is_below(path)) return 0;
  long count = __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
  if (turn == 0 || count < turn || (count > turn && !always)) return 0;
  if (signal_number) kill(group ? 0 : getpid(), signal_number);
  if (error_number) errno = error_number;
  return error_number != 0;
}

static int fails_fd(const char *op, int descriptor) {
  char link[64], path[PATH_MAX];
  if (!armed || strcmp(op, operation)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(op, path);
}

#define NEXT(name) \
  static __typeof__(&name) next; \
  if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    NEXT(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    if ((flags & O_CREAT) && fails("open", path)) return -1; \
    return next(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
  int name(int folder, const char *path, int flags, ...) { \
    NEXT(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    if ((flags & O_CREAT) && fails("open", path)) return -1; \
    return next(folder, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
  FILE *name(const char *path, const char *mode) { \
    NEXT(name); \
    if (mode[0] != 'r' && fails("open", path)) return NULL; \
    return next(path, mode); \
  }
FOPEN(fopen)
FOPEN(fopen64)

#define BY_FD(result, name, op, parameters, arguments) \
  result name parameters { \
    NEXT(name); \
    if (fails_fd(op, fd)) return -1; \
    return next arguments; \
  }
BY_FD(ssize_t, write, "write", (int fd, const void *data, size_t size), (fd, data, size))
BY_FD(ssize_t, pwrite, "write", (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
BY_FD(ssize_t, pwrite64, "write", (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
BY_FD(ssize_t, writev, "write", (int fd, const struct iovec *parts, int count), (fd, parts, count))
BY_FD(ssize_t, read, "read", (int fd, void *data, size_t size), (fd, data, size))
BY_FD(ssize_t, pread, "read", (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
BY_FD(ssize_t, pread64, "read", (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))
BY_FD(int, fsync, "fsync", (int fd), (fd))
BY_FD(int, fdatasync, "fsync", (int fd), (fd))

size_t fwrite(const void *data, size_t size, size_t count, FILE *stream) {
  NEXT(fwrite);
  if (fails_fd("write", fileno(stream))) return 0;
  return next(data, size, count, stream);
}

size_t fread(void *data, size_t size, size_t count, FILE *stream) {
  NEXT(fread);
  if (fails_fd("read", fileno(stream))) return 0;
  return next(data, size, count, stream);
}

#define BY_PATH(name, op, path, parameters, arguments) \
  int name parameters { \
    NEXT(name); \
    if (fails(op, path)) return -1; \
    return next arguments; \
  }
BY_PATH(rename, "rename", to, (const char *from, const char *to), (from, to))
BY_PATH(renameat, "rename", to, (int a, const char *from, int b, const char *to), (a, from, b, to))
BY_PATH(mkdir, "mkdir", path, (const char *path, mode_t mode), (path, mode))
BY_PATH(mkdirat, "mkdir", path, (int folder, const char *path, mode_t mode), (folder, path, mode))
BY_PATH(unlink, "unlink", path, (const char *path), (path))
BY_PATH(rmdir, "unlink", path, (const char *path), (path))

/* shutil.rmtree removes by (folder, name): the name alone is not below the root. */
int unlinkat(int folder, const char *path, int flags) {
  NEXT(unlinkat);
  if (path[0] == '/' ? fails("unlink", path) : fails_fd("unlink", folder)) return -1;
  return next(folder, path, flags);
}
