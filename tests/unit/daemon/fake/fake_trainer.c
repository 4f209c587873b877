/* A trainer that follows a script, for tests of reidd and reidd-shim: it takes reid-train's options
 * and keeps to its manners (exit codes, last words, spool, link), and trains nothing.
 *
 * The script is the file `script` in the configuration's OUTPUT_DIR. One command a line; "N:"
 * before it restricts it to rank N.
 *
 *     out TEXT, err TEXT   a line on standard output or error
 *     environment NAME     NAME=value on standard output
 *     link                 connects to reidd and says hello, until it is accepted
 *     phase N              as in reid.v1.JobPhase
 *     progress I MAX
 *     rows N               N more rows: spool, and link when there is one
 *     last-row             waits until reidd has acknowledged the last row
 *     mark NAME            makes the file NAME in OUTPUT_DIR (with the process id in it)
 *     wait NAME            until somebody has made the file NAME in OUTPUT_DIR
 *     words TEXT           failures/rank-N.json, and over the link
 *     misses TEXT          the same, of other ranks
 *     on-term CODE         from now on TERM ends it with CODE; 0 ignores TERM
 *     grandchild           a child that ignores TERM, in a session of its own
 *     in-attempt N         what follows is for that attempt only; 0: for all again
 *     resumed              "resumed" or "anew" on standard output
 *     train N MS PERIOD    like a training of N iterations: see train.h
 *     flight N             a flight recorder with N calls, the last of which has not ended
 *     kill SIGNAL          to itself
 *     hog MIB              takes that much memory
 *     exit CODE
 *
 * With --check-only it prints the file `check` in OUTPUT_DIR to standard error and ends with the
 * number in its first line ("2"), hangs ("hang") or crashes ("crash"); without the file all is
 * well.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/flight.h"
#include "base/recordfile.h"
#include "base/str.h"
#include "base/vec.h"
#include "fake/fake.h"
#include "reid/v1/link.pb-c.h"
#include "rpc/client.h"

static int term_code = 143;

_Noreturn void die(const char *what)
{
    fprintf(stderr, "fake trainer: %s\n", what);
    exit(99);
}

const char *need_env(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        die(name);
    return value;
}

static void nap(void)
{
    poll(NULL, 0, 5);
}

/* ---- link ---- */

static bool send_up(fake *f, Reid__V1__LinkUp *up)
{
    if (!f->stream)
        return false;
    if (reid_rpc_client_send(f->stream, &up->base, 2000, NULL) == REID_OK)
        return true;
    reid_rpc_client_free(f->client); /* with its streams */
    f->client = NULL;
    f->stream = NULL;
    return false;
}

void take_down(fake *f, uint32_t timeout_ms, bool *ret_accepted)
{
    ProtobufCMessage *message = NULL;
    reid_status status = reid_rpc_client_next(f->stream, timeout_ms, &message, NULL);
    if (status == REID_ERR_TIMEOUT)
        return;
    if (status != REID_OK || !message) {
        reid_rpc_client_free(f->client);
        f->client = NULL;
        f->stream = NULL;
        return;
    }
    const Reid__V1__LinkDown *down = (const Reid__V1__LinkDown *)message;
    if (down->kind_case == REID__V1__LINK_DOWN__KIND_ACCEPT) {
        f->stored = down->accept->stored_seq;
        *ret_accepted = true;
    } else if (down->kind_case == REID__V1__LINK_DOWN__KIND_STORED) {
        f->stored = down->stored->seq;
    }
    protobuf_c_message_free_unpacked(message, NULL);
}

bool try_link(fake *f)
{
    bool accepted = false;
    if (reid_rpc_client_connect(need_env("REIDD_LINK"), 1000, &f->client, NULL) != REID_OK) {
        f->client = NULL;
        return false;
    }
    if (reid_rpc_client_open(f->client, "/reid.v1.RankService/Link",
                             &reid__v1__link_down__descriptor, &f->stream, NULL) != REID_OK)
        die("cannot open a link");
    Reid__V1__LinkHello hello = REID__V1__LINK_HELLO__INIT;
    hello.job_id = (char *)need_env("REIDD_JOB");
    hello.attempt = atoi(need_env("REIDD_ATTEMPT"));
    hello.ticket = (char *)need_env("REIDD_TICKET");
    hello.rank = f->rank;
    hello.world = f->world;
    hello.pid = getpid();
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    up.kind_case = REID__V1__LINK_UP__KIND_HELLO;
    up.hello = &hello;
    if (send_up(f, &up))
        take_down(f, 2000, &accepted);
    return accepted;
}

/* ---- rows ---- */

/* Row k: iteration first + k - 1, epoch (k - 1) / 100, total_loss 1/k, lr k/1000. */
static void with_row(int64_t seq, void (*use)(fake *, Reid__V1__MetricRow *), fake *f)
{
    Reid__V1__Scalar loss = REID__V1__SCALAR__INIT, lr = REID__V1__SCALAR__INIT;
    Reid__V1__Scalar *scalars[] = {&loss, &lr};
    Reid__V1__MetricRow row = REID__V1__METRIC_ROW__INIT;
    loss.name = (char *)"total_loss";
    loss.value = 1.0 / (double)seq;
    lr.name = (char *)"lr";
    lr.value = (double)seq / 1000.0;
    row.attempt = atoi(need_env("REIDD_ATTEMPT"));
    row.seq = seq;
    row.iteration = f->first + seq - 1;
    row.epoch = (int32_t)((seq - 1) / 100);
    row.wall_ms = reid_clock_wall_ms();
    row.n_scalars = 2;
    row.scalars = scalars;
    use(f, &row);
}

static void spool_row(fake *f, Reid__V1__MetricRow *row)
{
    uint8_t bytes[512];
    size_t size = reid__v1__metric_row__pack(row, bytes);
    if (reid_record_file_append(f->spool, bytes, size, NULL) != REID_OK)
        die("cannot write the spool");
}

static void send_row(fake *f, Reid__V1__MetricRow *row)
{
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    up.kind_case = REID__V1__LINK_UP__KIND_ROW;
    up.row = row;
    send_up(f, &up);
}

void make_rows(fake *f, int64_t count)
{
    if (!f->spool) {
        char *path = reid_path_join(need_env("REIDD_ATTEMPT_DIR"), "rank0.spool");
        if (reid_record_file_append_open(path, &f->spool, NULL) != REID_OK)
            die("cannot open the spool");
        free(path);
    }
    for (int64_t i = 0; i < count; i++) {
        f->seq++;
        with_row(f->seq, spool_row, f);
        with_row(f->seq, send_row, f);
    }
}

/* Those that reidd does not have, over a new link. */
void send_rows_after(fake *f, int64_t seq)
{
    for (seq++; f->stream && seq <= f->seq; seq++)
        with_row(seq, send_row, f);
}

/* Goes on over a new link when the daemon was started again. */
static void wait_for_last_row(fake *f)
{
    bool accepted = false;
    while (f->stored < f->seq) {
        if (f->stream) {
            take_down(f, 100, &accepted);
            continue;
        }
        nap();
        if (!try_link(f))
            continue;
        send_rows_after(f, f->stored);
    }
}

/* ---- the rest of the commands ---- */

static void fly(const fake *f, int calls)
{
    reid_flight *flight = NULL;
    char *folder = reid_xasprintf("%s/%s", need_env("REIDD_ATTEMPT_DIR"), REID_FLIGHT_DIR);
    if (reid_flight_open(folder, "mpi", f->rank, f->world, &flight, NULL) != REID_OK)
        die("cannot make a flight recorder");
    free(folder);
    for (int i = 1; i <= calls; i++) {
        uint64_t call = reid_flight_queue(flight, "all-reduce", "training", -1, 1000);
        reid_flight_start(flight, call);
        if (i < calls)
            reid_flight_end(flight, call);
    } /* open until the end */
}

static void write_words(fake *f, const char *sentence, bool of_others)
{
    char *path = reid_xasprintf("%s/failures/rank-%d.json", need_env("REIDD_ATTEMPT_DIR"), f->rank);
    char *text = reid_xasprintf("{\"rank\":%d,\"wall_ms\":%lld,\"phase\":\"training\","
                                "\"sentence\":\"%s\",\"of_others\":%s}",
                                f->rank, (long long)reid_clock_wall_ms(), sentence,
                                of_others ? "true" : "false");
    if (reid_file_write_atomic(path, text, strlen(text), NULL) != REID_OK)
        die("cannot write last words");
    free(path);
    free(text);
    Reid__V1__LinkFailure failure = REID__V1__LINK_FAILURE__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    failure.sentence = (char *)sentence;
    up.kind_case = REID__V1__LINK_UP__KIND_FAILURE;
    up.failure = &failure;
    send_up(f, &up);
}

static void on_term(int number)
{
    if (term_code)
        _exit(term_code);
}

static void grandchild(void)
{
    int ready[2];
    char byte;
    if (pipe(ready) != 0)
        die("no pipe");
    if (fork() == 0) {
        setsid();
        signal(SIGTERM, SIG_IGN);
        if (fork() == 0) {
            close(ready[0]);
            if (write(ready[1], "x", 1) != 1)
                _exit(1);
            close(ready[1]);
            for (;;)
                pause();
        }
        _exit(0);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        die("no grandchild");
    close(ready[0]);
}

void send_phase(fake *f, int number)
{
    Reid__V1__LinkPhase phase = REID__V1__LINK_PHASE__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    phase.phase = (Reid__V1__JobPhase)number;
    up.kind_case = REID__V1__LINK_UP__KIND_PHASE;
    up.phase = &phase;
    send_up(f, &up);
}

void send_progress(fake *f, const char *numbers)
{
    long long iteration = 0, max = 0;
    if (sscanf(numbers, "%lld %lld", &iteration, &max) != 2)
        die("progress needs two numbers");
    Reid__V1__Progress progress = REID__V1__PROGRESS__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    progress.iteration = iteration;
    progress.max_iteration = max;
    progress.max_epoch = 1;
    progress.eta_seconds = (double)(max - iteration);
    progress.images_per_second = 64;
    up.kind_case = REID__V1__LINK_UP__KIND_PROGRESS;
    up.progress = &progress;
    send_up(f, &up);
}

static void hog(size_t bytes)
{
    volatile char *memory = reid_xmalloc(bytes);
    for (size_t i = 0; i < bytes; i += 1024)
        memory[i] = 1;
    free((void *)memory);
}

static void mark(fake *f, const char *name)
{
    char *path = reid_path_join(f->folder, name);
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (reid_file_write_atomic(path, pid, strlen(pid), NULL) != REID_OK)
        die("cannot make a mark");
    free(path);
}

static void wait_for(fake *f, const char *name)
{
    char *path = reid_path_join(f->folder, name);
    while (!reid_path_exists(path))
        nap();
    free(path);
}

static void run_command(fake *f, const char *word, const char *rest)
{
    if (strcmp(word, "out") == 0) {
        puts(rest);
    } else if (strcmp(word, "err") == 0) {
        fprintf(stderr, "%s\n", rest);
    } else if (strcmp(word, "environment") == 0) {
        const char *value = getenv(rest);
        printf("%s=%s\n", rest, value ? value : "(not set)");
        fflush(stdout);
    } else if (strcmp(word, "link") == 0) {
        while (!try_link(f))
            nap();
    } else if (strcmp(word, "phase") == 0) {
        send_phase(f, atoi(rest));
    } else if (strcmp(word, "progress") == 0) {
        send_progress(f, rest);
    } else if (strcmp(word, "rows") == 0) {
        make_rows(f, atoll(rest));
    } else if (strcmp(word, "last-row") == 0) {
        wait_for_last_row(f);
    } else if (strcmp(word, "mark") == 0) {
        mark(f, rest);
    } else if (strcmp(word, "wait") == 0) {
        wait_for(f, rest);
    } else if (strcmp(word, "words") == 0) {
        write_words(f, rest, false);
    } else if (strcmp(word, "flight") == 0) {
        fly(f, atoi(rest));
    } else if (strcmp(word, "misses") == 0) {
        write_words(f, rest, true);
    } else if (strcmp(word, "on-term") == 0) {
        term_code = atoi(rest);
        signal(SIGTERM, on_term);
    } else if (strcmp(word, "grandchild") == 0) {
        grandchild();
    } else if (strcmp(word, "resumed") == 0) {
        puts(f->resume ? "resumed" : "anew");
    } else if (strcmp(word, "hog") == 0) {
        hog((size_t)atoll(rest) << 20);
    } else if (strcmp(word, "kill") == 0) {
        kill(getpid(), atoi(rest));
    } else if (strcmp(word, "train") == 0) {
        train(f, rest);
    } else if (strcmp(word, "exit") == 0) {
        exit(atoi(rest));
    } else {
        die(word);
    }
}

static void run_script(fake *f)
{
    char *path = reid_path_join(f->folder, "script");
    FILE *script = fopen(path, "re");
    char line[512];
    if (!script)
        die(path);
    while (fgets(line, sizeof line, script)) {
        char *word = reid_str_trim(line);
        char *end = NULL;
        long only = strtol(word, &end, 10);
        if (end != word && *end == ':') {
            word = reid_str_trim(end + 1);
            if (only != f->rank)
                continue;
        }
        if (!*word || *word == '#')
            continue;
        size_t length = strcspn(word, " ");
        char *rest = word[length] ? word + length + 1 : word + length;
        word[length] = '\0';
        if (strcmp(word, "in-attempt") == 0)
            f->only_attempt = atol(rest);
        else if (f->only_attempt == 0 || f->only_attempt == atol(need_env("REIDD_ATTEMPT")))
            run_command(f, word, rest);
    }
    fclose(script);
    free(path);
}

static int check_only(fake *f)
{
    char *path = reid_path_join(f->folder, "check");
    char *text = NULL;
    size_t size = 0;
    int code = 0;
    bool there = reid_file_read(path, 65536, &text, &size, NULL) == REID_OK;
    free(path);
    if (!there)
        return 0;
    if (reid_str_starts(text, "crash"))
        abort();
    while (reid_str_starts(text, "hang"))
        pause();
    char *rest = strchr(text, '\n');
    if (rest)
        fputs(rest + 1, stderr);
    code = atoi(text);
    free(text);
    return code;
}

/* The value of OUTPUT_DIR in the configuration. */
static char *find_folder(const char *config)
{
    char *text = NULL;
    size_t size = 0;
    if (!config || reid_file_read(config, 1 << 20, &text, &size, NULL) != REID_OK)
        die("no configuration");
    char *key = strstr(text, "OUTPUT_DIR:");
    if (!key)
        die("no OUTPUT_DIR");
    key += strlen("OUTPUT_DIR:");
    key[strcspn(key, "\n")] = '\0';
    char *folder = reid_xstrdup(reid_str_trim(key));
    free(text);
    return folder;
}

int main(int argc, char **argv)
{
    const char *config = NULL, *world = getenv("OMPI_COMM_WORLD_SIZE"),
               *rank = getenv("OMPI_COMM_WORLD_RANK");
    bool check = false, resume = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config-file") == 0)
            config = argv[++i];
        else if (strcmp(argv[i], "--check-only") == 0)
            check = true;
        else if (strcmp(argv[i], "--resume") == 0)
            resume = true;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    fake f = {.folder = find_folder(config),
              .rank = rank ? atoi(rank) : 0,
              .world = world ? atoi(world) : 1,
              .resume = resume};
    int code = 0;
    if (check)
        code = check_only(&f);
    else
        run_script(&f);
    reid_rpc_client_free(f.client);
    reid_record_file_free(f.spool);
    free(f.folder);
    return code;
}
