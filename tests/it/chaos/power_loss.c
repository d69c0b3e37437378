/* What a disk has after a loss of power: loaded before the C library, it keeps a copy of each file of the store as it was when it
 * was synced last, in the directory that SYNCED_DIR names. What was written since is what a loss of power may take. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void keep(int fd) {
    char link[64], path[PATH_MAX], copy[PATH_MAX + 64], unfinished[PATH_MAX + 128];
    static char buffer[1 << 16];
    const char *dir = getenv("SYNCED_DIR");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!dir || length <= 0) return;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    if (!name || strncmp(name + 1, "triggerd.db", 11) != 0) return;
    pthread_mutex_lock(&one_at_a_time);
    snprintf(copy, sizeof copy, "%s%s", dir, name);
    snprintf(unfinished, sizeof unfinished, "%s.unfinished", copy);
    int to = open(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    /* Read through the same descriptor: to close another one of the same file would let go of the process's locks on it. */
    off_t at = 0;
    ssize_t got;
    while (to >= 0 && (got = pread(fd, buffer, sizeof buffer, at)) > 0) {
        if (write(to, buffer, got) != got) abort();
        at += got;
    }
    if (to >= 0) {
        close(to);
        /* The process may be killed at any moment: the copy is the former one or the next. */
        if (rename(unfinished, copy) != 0) abort();
    }
    pthread_mutex_unlock(&one_at_a_time);
}

int fsync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int done = next(fd);
    keep(fd);
    return done;
}

int fdatasync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int done = next(fd);
    keep(fd);
    return done;
}
