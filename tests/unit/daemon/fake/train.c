/* The scripted trainer as a training that is killed at any moment. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/str.h"
#include "fake/fake.h"

#define RELINK_MS 100 /* between looks for a reidd that is away */

static volatile sig_atomic_t term;

static void on_term(int number)
{
    term = number;
}

/* A number that is there as soon as the call returns, whoever kills the process then. */
static void put_number(int fd, long long number)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%-20lld\n", number);
    if (pwrite(fd, text, (size_t)length, 0) != length)
        die("cannot write a number");
}

static int open_number(const fake *f, const char *name)
{
    REID_AUTOFREE char *path = reid_path_join(f->folder, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        die(path);
    return fd;
}

/* -1: there is none. */
static long long read_checkpoint(const fake *f)
{
    REID_AUTOFREE char *path = reid_path_join(f->folder, "last_checkpoint");
    REID_AUTOFREE char *text = NULL;
    size_t size = 0;
    if (reid_file_read(path, 64, &text, &size, NULL) != REID_OK)
        return -1;
    return atoll(text);
}

static void write_text(const fake *f, const char *name, const char *text)
{
    REID_AUTOFREE char *path = reid_path_join(f->folder, name);
    if (reid_file_write_atomic(path, text, strlen(text), NULL) != REID_OK)
        die(path);
}

static void save(fake *f, long long iteration)
{
    char text[32];
    if (f->rank != 0)
        return;
    snprintf(text, sizeof text, "%lld", iteration);
    send_phase(f, 4);
    write_text(f, "last_checkpoint", text);
    send_phase(f, 2);
}

/* Where this attempt begins. */
static long long begin(const fake *f)
{
    long long saved = read_checkpoint(f);
    if (f->resume)
        return saved < 0 ? 0 : saved;
    if (saved >= 0 && f->rank == 0) {
        REID_AUTOFREE char *text =
            reid_xasprintf("attempt %s began anew, although there is a checkpoint of iteration "
                           "%lld\n",
                           need_env("REIDD_ATTEMPT"), saved);
        write_text(f, "violation", text);
    }
    return 0;
}

/* Waits as long as a step takes; meanwhile the link works. */
static void step(fake *f, int64_t until_ns, int64_t *relink_ns)
{
    bool accepted = false;
    for (;;) {
        int64_t now_ns = reid_clock_mono_ns();
        if (!f->stream && now_ns >= *relink_ns) {
            if (try_link(f)) {
                send_phase(f, 2);
                send_rows_after(f, f->stored);
            }
            *relink_ns = now_ns + RELINK_MS * 1000000LL;
        }
        int64_t left_ms = (until_ns - now_ns) / 1000000;
        if (left_ms <= 0)
            return;
        if (f->stream)
            take_down(f, (uint32_t)REID_MIN(left_ms, 50), &accepted);
        else
            poll(NULL, 0, (int)REID_MIN(left_ms, 20));
    }
}

void train(fake *f, const char *numbers)
{
    long long count = 0, step_ms = 0, period = 0;
    if (sscanf(numbers, "%lld %lld %lld", &count, &step_ms, &period) != 3 || period < 1)
        die("train needs three numbers");
    REID_AUTOFREE char *written =
        reid_xasprintf("written-%s.%d", need_env("REIDD_ATTEMPT"), f->rank);
    REID_AUTOFREE char *stored = reid_xasprintf("stored-%s", need_env("REIDD_ATTEMPT"));
    int written_fd = open_number(f, written),
        stored_fd = f->rank == 0 ? open_number(f, stored) : -1;
    int64_t relink_ns = 0;
    signal(SIGTERM, on_term);
    f->first = begin(f);
    for (long long i = f->first; i < count && !term; i++) {
        step(f, reid_clock_mono_ns() + step_ms * 1000000, &relink_ns);
        printf("line %lld\n", i);
        if (f->rank == 0) {
            char progress[64];
            make_rows(f, 1);
            snprintf(progress, sizeof progress, "%lld %lld", i + 1, count);
            send_progress(f, progress);
            put_number(stored_fd, f->stored);
        }
        put_number(written_fd, i + 1 - f->first);
        if ((i + 1) % period == 0 || term)
            save(f, i + 1);
    }
    if (term)
        exit(143);
}
