#include "base/flight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/str.h"

#define RECORDS 256u
static const char MAGIC[8] = "reidflt1";

/* The file's format. */
typedef struct record {
    _Atomic uint64_t number; /* 0 while it is being filled */
    char what[16], phase[16];
    int64_t bucket;
    uint64_t bytes;
    _Atomic int64_t queued_ns, started_ns, ended_ns;
} record;

typedef struct ring {
    char magic[8];
    uint32_t records, record_bytes;
    int32_t rank, size;
    char channel[16];
    int64_t pid;
    uint64_t pid_start; /* two processes of one pid differ in it */
    _Atomic uint64_t queued, started, ended;
    record record[RECORDS];
} ring;

/* Of another machine's rank: `now` there, and how its process was. A file that is no copy is read
 * as one with zeros. */
typedef struct copy {
    ring ring;
    int64_t copied_ns;
    int64_t process;
} copy;

struct reid_flight {
    ring *ring;
    char *path;
};

/* State letter and start time of a process, from /proc; 'X' and 0 when there is none. */
static char process_state(int64_t pid, uint64_t *ret_start)
{
    char path[64], state = 'X';
    char *text = NULL;
    size_t size = 0;
    unsigned long long start = 0;
    *ret_start = 0;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    if (reid_file_read(path, 4096, &text, &size, NULL) != REID_OK)
        return 'X';
    /* The name may hold anything; what is fixed begins behind its last parenthesis. */
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest,
                        ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                        "%*d %llu",
                        &state, &start) != 2)
        state = 'X';
    free(text);
    *ret_start = start;
    return state;
}

static record *record_of(ring *r, uint64_t call)
{
    return &r->record[(call - 1) % RECORDS];
}

/* ---- writing ---- */

static reid_status map_new(const char *path, ring **ret_ring, reid_error *err)
{
    /* Not over the old file: somebody may be reading it. */
    if (unlink(path) != 0 && errno != ENOENT)
        return reid_fail_errno(err, errno, "cannot remove '%s'", path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot make '%s'", path);
    void *memory = MAP_FAILED;
    int failed = posix_fallocate(fd, 0, sizeof(ring)); /* a full disk shows here, not as SIGBUS */
    if (failed == 0) {
        memory = mmap(NULL, sizeof(ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        failed = memory == MAP_FAILED ? errno : 0;
    }
    close(fd);
    if (failed != 0) {
        unlink(path);
        return reid_fail_errno(err, failed, "cannot make '%s' of %zu bytes", path, sizeof(ring));
    }
    *ret_ring = memory;
    return REID_OK;
}

reid_status reid_flight_open_path(const char *path, int rank, int size, reid_flight **ret_flight,
                                  reid_error *err)
{
    ring *r = NULL;
    const char *dot = strrchr(reid_path_base(path), '.');
    REID_AUTOFREE char *folder = reid_path_dir(path);
    REID_TRY(reid_make_dirs(folder, 0755, err));
    REID_TRY(map_new(path, &r, err));
    r->records = RECORDS;
    r->record_bytes = sizeof(record);
    r->rank = rank;
    r->size = size;
    snprintf(r->channel, sizeof r->channel, "%.15s", dot ? dot + 1 : "");
    r->pid = getpid();
    process_state(getpid(), &r->pid_start);
    atomic_thread_fence(memory_order_release);
    memcpy(r->magic, MAGIC, sizeof MAGIC);
    reid_flight *flight = reid_xcalloc(1, sizeof *flight);
    flight->ring = r;
    flight->path = reid_xstrdup(path);
    *ret_flight = flight;
    return REID_OK;
}

static char *path_of(const char *folder, int rank, const char *channel)
{
    return reid_xasprintf("%s/rank-%d.%s", folder, rank, channel);
}

reid_status reid_flight_open(const char *folder, const char *channel, int rank, int size,
                             reid_flight **ret_flight, reid_error *err)
{
    REID_AUTOFREE char *path = path_of(folder, rank, channel);
    return reid_flight_open_path(path, rank, size, ret_flight, err);
}

void reid_flight_close(reid_flight *flight, bool ended_well)
{
    if (!flight)
        return;
    if (ended_well)
        unlink(flight->path);
    munmap(flight->ring, sizeof *flight->ring);
    free(flight->path);
    free(flight);
}

uint64_t reid_flight_queue(reid_flight *flight, const char *what, const char *phase, int bucket,
                           uint64_t bytes)
{
    if (!flight)
        return 0;
    ring *r = flight->ring;
    uint64_t call = atomic_load_explicit(&r->queued, memory_order_relaxed) + 1;
    record *at = record_of(r, call);
    atomic_store(&at->number, 0);
    snprintf(at->what, sizeof at->what, "%.15s", what);
    snprintf(at->phase, sizeof at->phase, "%.15s", phase);
    at->bucket = bucket;
    at->bytes = bytes;
    atomic_store_explicit(&at->started_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&at->ended_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&at->queued_ns, reid_clock_mono_ns(), memory_order_relaxed);
    atomic_store(&at->number, call);
    atomic_store(&r->queued, call);
    return call;
}

void reid_flight_start(reid_flight *flight, uint64_t call)
{
    if (!flight || call == 0)
        return;
    atomic_store(&record_of(flight->ring, call)->started_ns, reid_clock_mono_ns());
    atomic_store(&flight->ring->started, call);
}

void reid_flight_end(reid_flight *flight, uint64_t call)
{
    if (!flight || call == 0)
        return;
    atomic_store(&record_of(flight->ring, call)->ended_ns, reid_clock_mono_ns());
    atomic_store(&flight->ring->ended, call);
}

/* ---- reading ---- */

static int64_t moved(int64_t ns, int64_t by_ns)
{
    return ns == 0 ? 0 : (int64_t)((uint64_t)ns + (uint64_t)by_ns);
}

/* The times of a copy as this machine's monotonic clock would have had them: the file was written
 * when the copy was made. */
static void settle(const char *path, copy *c)
{
    struct stat info;
    int64_t age_ns = 0;
    if (c->copied_ns == 0)
        return;
    if (stat(path, &info) == 0)
        age_ns = (reid_clock_wall_ms() - (int64_t)info.st_mtim.tv_sec * 1000) * 1000000 -
                 info.st_mtim.tv_nsec;
    int64_t by_ns = moved(reid_clock_mono_ns() - REID_MAX(age_ns, 0), -c->copied_ns);
    for (size_t i = 0; i < RECORDS; i++) {
        record *at = &c->ring.record[i];
        at->queued_ns = moved(at->queued_ns, by_ns);
        at->started_ns = moved(at->started_ns, by_ns);
        at->ended_ns = moved(at->ended_ns, by_ns);
    }
}

/* A private copy of the file, checked: the first part of a `copy`. */
static reid_status load(const char *path, ring **ret_ring, reid_error *err)
{
    char *data = NULL;
    size_t size = 0;
    REID_TRY(reid_file_read_foreign(path, 2 * sizeof(copy), &data, &size, err));
    copy *c = reid_xcalloc(1, sizeof *c);
    memcpy((void *)c, data, REID_MIN(size, sizeof *c));
    free(data);
    ring *r = &c->ring;
    if ((size != sizeof(ring) && size != sizeof(copy)) ||
        memcmp(r->magic, MAGIC, sizeof MAGIC) != 0 || r->records != RECORDS ||
        r->record_bytes != sizeof(record) || r->rank < 0 || r->rank >= r->size) {
        free(c);
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' is not a flight recorder's file", path);
    }
    r->channel[sizeof r->channel - 1] = '\0';
    settle(path, c);
    *ret_ring = r;
    return REID_OK;
}

static reid_flight_state state_of(const ring *r)
{
    reid_flight_state state = {
        .rank = r->rank,
        .size = r->size,
        .pid = r->pid,
        .process = 'X',
        .queued = r->queued,
        .started = r->started,
        .ended = r->ended,
    };
    memcpy(state.channel, r->channel, sizeof state.channel);
    /* The three were read at different moments. */
    state.ended = REID_MIN(state.ended, state.queued);
    state.started = REID_MAX(REID_MIN(state.started, state.queued), state.ended);
    const copy *c = (const copy *)(const void *)r; /* see load */
    uint64_t start = 0;
    if (c->copied_ns != 0) {
        state.process = c->process > 0 && c->process < 128 ? (char)c->process : 'X';
        return state;
    }
    char process = process_state(r->pid, &start);
    if (start == r->pid_start)
        state.process = process;
    return state;
}

static bool find_call(const ring *r, uint64_t number, reid_flight_call *ret_call)
{
    const record *at = &r->record[(number - 1) % RECORDS];
    if (number == 0 || at->number != number)
        return false;
    *ret_call = (reid_flight_call){
        .number = number,
        .bucket = (int)at->bucket,
        .bytes = at->bytes,
        .queued_ns = at->queued_ns,
        .started_ns = at->started_ns,
        .ended_ns = at->ended_ns,
    };
    memcpy(ret_call->what, at->what, sizeof at->what);
    memcpy(ret_call->phase, at->phase, sizeof at->phase);
    ret_call->what[sizeof at->what - 1] = ret_call->phase[sizeof at->phase - 1] = '\0';
    return true;
}

reid_status reid_flight_read(const char *path, reid_flight_state *ret_state, reid_error *err)
{
    ring *r = NULL;
    REID_TRY(load(path, &r, err));
    *ret_state = state_of(r);
    free(r);
    return REID_OK;
}

reid_status reid_flight_read_call(const char *path, uint64_t number, reid_flight_call *ret_call,
                                  reid_error *err)
{
    ring *r = NULL;
    REID_TRY(load(path, &r, err));
    bool found = find_call(r, number, ret_call);
    free(r);
    if (!found)
        return reid_fail(err, REID_ERR_NOT_FOUND, "call %llu is not in '%s'",
                         (unsigned long long)number, path);
    return REID_OK;
}

reid_status reid_flight_copy(const char *path, char **ret_data, size_t *ret_size, reid_error *err)
{
    ring *r = NULL;
    REID_TRY(load(path, &r, err));
    copy *c = (copy *)(void *)r; /* see load */
    if (c->copied_ns == 0) {
        c->process = state_of(r).process;
        c->copied_ns = reid_clock_mono_ns();
    }
    *ret_data = (char *)(void *)c;
    *ret_size = sizeof *c;
    return REID_OK;
}

/* ---- explaining ---- */

/* All ranks of one channel whose files are here. */
typedef struct channel {
    ring **rings; /* [count], in order of rank */
    reid_flight_state *states;
    size_t count;
    int size;
} channel;

typedef enum verdict { NOBODY_WAITS, ALL_WAIT, UNFINISHED, NOT_BEGUN, NOT_COME } verdict;

typedef struct finding {
    verdict verdict;
    reid_flight_call call; /* the oldest open one */
    double waited_s;
    bool *culprit; /* [count] */
} finding;

static int compare_rings(const void *a, const void *b)
{
    const ring *x = *(ring *const *)a, *y = *(ring *const *)b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static void channel_load(channel *c, const char *folder, const reid_dir_entry *entries,
                         size_t entry_count, const char *name)
{
    *c = (channel){.rings = reid_xcalloc(entry_count + 1, sizeof *c->rings)};
    for (size_t i = 0; i < entry_count; i++) {
        const char *dot = strrchr(entries[i].name, '.');
        if (!dot || strcmp(dot + 1, name) != 0 || entries[i].is_dir)
            continue;
        REID_AUTOFREE char *path = reid_path_join(folder, entries[i].name);
        if (load(path, &c->rings[c->count], NULL) == REID_OK)
            c->count++;
    }
    qsort(c->rings, c->count, sizeof *c->rings, compare_rings);
    c->states = reid_xcalloc(c->count + 1, sizeof *c->states);
    for (size_t i = 0; i < c->count; i++) {
        c->states[i] = state_of(c->rings[i]);
        c->size = REID_MAX(c->size, c->states[i].size);
    }
}

static void channel_fini(channel *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->rings[i]);
    free(c->rings);
    free(c->states);
}

/* Since when a rank is at this call of its own: queued, or begun after its forerunner. */
static int64_t waits_since_ns(const ring *r, const reid_flight_call *call)
{
    reid_flight_call before;
    int64_t since_ns = call->queued_ns;
    if (find_call(r, call->number - 1, &before))
        since_ns = REID_MAX(since_ns, before.ended_ns);
    return since_ns;
}

static void mark(const channel *c, finding *f)
{
    uint64_t number = f->call.number;
    size_t come = 0, begun = 0, ended = 0;
    for (size_t i = 0; i < c->count; i++) {
        come += c->states[i].queued >= number;
        begun += c->states[i].started >= number;
        ended += c->states[i].ended >= number;
    }
    f->verdict = come < c->count                 ? NOT_COME
                 : begun < c->count && begun > 0 ? NOT_BEGUN
                 : ended > 0                     ? UNFINISHED
                                                 : ALL_WAIT;
    for (size_t i = 0; i < c->count; i++) {
        const reid_flight_state *s = &c->states[i];
        f->culprit[i] = (f->verdict == NOT_COME && s->queued < number) ||
                        (f->verdict == NOT_BEGUN && s->started < number) ||
                        (f->verdict == UNFINISHED && s->ended < number);
    }
}

static void find(const channel *c, double least_wait_s, finding *f)
{
    *f = (finding){.verdict = NOBODY_WAITS, .culprit = reid_xcalloc(c->count + 1, 1)};
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < c->count; i++)
        if (c->states[i].ended < c->states[i].queued)
            oldest = REID_MIN(oldest, c->states[i].ended + 1);
    int64_t now_ns = reid_clock_mono_ns(), since_ns = now_ns;
    for (size_t i = 0; i < c->count && oldest != UINT64_MAX; i++) {
        reid_flight_call call;
        if (c->states[i].ended < oldest && find_call(c->rings[i], oldest, &call)) {
            since_ns = REID_MIN(since_ns, waits_since_ns(c->rings[i], &call));
            f->call = call;
        }
    }
    f->waited_s = (double)(now_ns - since_ns) * 1e-9;
    if (f->call.number != 0 && f->waited_s >= least_wait_s)
        mark(c, f);
}

static void add_ranks(reid_str *out, const channel *c, const bool *culprit, bool wanted)
{
    size_t total = 0, listed = 0;
    for (size_t i = 0; i < c->count; i++)
        total += culprit[i] == wanted;
    reid_str_add(out, total == 1 ? "rank " : "ranks ");
    for (size_t i = 0; i < c->count && listed < 8; i++) {
        if (culprit[i] != wanted)
            continue;
        reid_str_addf(out, "%s%d",
                      listed == 0           ? ""
                      : listed + 1 == total ? " and "
                                            : ", ",
                      c->states[i].rank);
        listed++;
    }
    if (total > listed)
        reid_str_addf(out, " and %zu more", total - listed);
}

static void add_call(reid_str *out, const reid_flight_call *call)
{
    reid_str_addf(out, "%s %llu (", call->what, (unsigned long long)call->number);
    if (call->bucket >= 0)
        reid_str_addf(out, "bucket %d, ", call->bucket);
    if (call->bytes >= 1 << 20)
        reid_str_addf(out, "%.1f MiB, ", (double)call->bytes / (1 << 20));
    else if (call->bytes > 0)
        reid_str_addf(out, "%llu bytes, ", (unsigned long long)call->bytes);
    reid_str_addf(out, "%s)", call->phase);
}

/* What the first culprit was last seen at. */
static void add_last(reid_str *out, const channel *c, size_t i)
{
    const reid_flight_state *s = &c->states[i];
    reid_flight_call last;
    if (s->queued == 0)
        reid_str_addf(out, "; rank %d has made no call so far", s->rank);
    else if (find_call(c->rings[i], s->queued, &last) && last.ended_ns != 0)
        reid_str_addf(out, "; its last call was %s %llu, which ended %.0f s ago", last.what,
                      (unsigned long long)last.number,
                      (double)(reid_clock_mono_ns() - last.ended_ns) * 1e-9);
}

static void add_process(reid_str *out, const reid_flight_state *s)
{
    const char *how = s->process == 'X' || s->process == 'Z'   ? "is gone"
                      : s->process == 'T' || s->process == 't' ? "is stopped"
                      : s->process == 'D'                      ? "waits for a disk or a device"
                                                               : NULL;
    if (how)
        reid_str_addf(out, "; process %lld of rank %d %s", (long long)s->pid, s->rank, how);
}

static bool is_out_of_action(const reid_flight_state *s)
{
    return s->process != '\0' && strchr("XZTt", s->process);
}

static void add_absent(reid_str *out, const channel *c)
{
    if ((size_t)c->size > c->count)
        reid_str_addf(out, "; of %d other rank%s nothing is known here", c->size - (int)c->count,
                      (size_t)c->size - c->count == 1 ? "" : "s");
}

static char *sentence_of(const channel *c, const finding *f, int *ret_rank)
{
    reid_str out = REID_STR_INIT;
    size_t first = 0;
    while (first < c->count && !f->culprit[first])
        first++;
    *ret_rank = first < c->count ? c->states[first].rank : -1;
    if (f->verdict == ALL_WAIT)
        reid_str_add(&out, "all ranks are in ");
    else
        add_ranks(&out, c, f->culprit, true);
    bool one = *ret_rank >= 0 && first < c->count;
    for (size_t i = first + 1; i < c->count; i++)
        one = one && !f->culprit[i];
    const char *verb = f->verdict == NOT_COME    ? "not come to"
                       : f->verdict == NOT_BEGUN ? "come to, but not begun,"
                                                 : "not finished";
    if (f->verdict != ALL_WAIT)
        reid_str_addf(&out, " %s %s ", one ? "has" : "have", verb);
    add_call(&out, &f->call);
    if (f->verdict == ALL_WAIT) {
        reid_str_addf(&out, " for %.0f s and none has finished it", f->waited_s);
    } else if (f->verdict == UNFINISHED) {
        reid_str_add(&out, ", which ");
        add_ranks(&out, c, f->culprit, false);
        reid_str_addf(&out, " ended; it has waited %.0f s", f->waited_s);
    } else {
        reid_str_add(&out, ", for which ");
        add_ranks(&out, c, f->culprit, false);
        reid_str_addf(&out, " waited %.0f s", f->waited_s);
    }
    if (f->verdict == NOT_COME)
        add_last(&out, c, first);
    for (size_t i = 0; i < c->count; i++)
        if (f->culprit[i] || (f->verdict == ALL_WAIT && is_out_of_action(&c->states[i])))
            add_process(&out, &c->states[i]);
    for (size_t i = 0; i < c->count && *ret_rank < 0; i++)
        if (is_out_of_action(&c->states[i]))
            *ret_rank = c->states[i].rank;
    add_absent(&out, c);
    return reid_str_take(&out);
}

char *reid_flight_explain(const char *folder, double least_wait_s, int *ret_rank)
{
    /* Of two equal findings the device's says more. */
    static const char *const names[] = {"nccl", "mpi"};
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    char *best = NULL;
    verdict best_verdict = NOBODY_WAITS;
    int rank = -1;
    if (reid_dir_list(folder, &entries, &count, NULL) != REID_OK)
        return NULL;
    for (size_t n = 0; n < REID_COUNT_OF(names); n++) {
        channel c;
        finding f;
        channel_load(&c, folder, entries, count, names[n]);
        find(&c, least_wait_s, &f);
        if (f.verdict > best_verdict) {
            free(best);
            best = sentence_of(&c, &f, &rank);
            best_verdict = f.verdict;
        }
        free(f.culprit);
        channel_fini(&c);
    }
    reid_dir_free(entries, count);
    if (ret_rank)
        *ret_rank = rank;
    return best;
}
