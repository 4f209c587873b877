/* reidd-join: what reidd executes first when mpirun has started it.
 *
 *     mpirun -N 1 --hostfile hosts reidd OPTIONS
 *     → on each host: reidd-join STATE_DIR SOCKET NODE ADDRESS NETWORK reidd OPTIONS
 *
 * It does the part that needs MPI: the processes tell each other the names and addresses of their
 * nodes, and each writes the same cluster file to its state folder; rank 0's node is the head. Then
 * it starts reidd in a session of its own, with that file and without MPI's environment, and ends
 * when reidd answers at its socket. So mpirun ends with 0, no daemon's death touches another, and
 * libmpi is not in reidd.
 *
 * Exit status: 0, or 1 when a daemon could not be started (each host for itself).
 */
#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/str.h"

#define READY_SECONDS 60
#define LOG_TAIL 2000

enum { STATE_DIR = 1, SOCKET_PATH, NODE, ADDRESS, NETWORK, PROGRAM };

typedef struct place {
    char name[80];
    char address[160];
} place;

extern char **environ;

/* ---- together ---- */

static reid_status check_places(const place *places, int count, reid_error *err)
{
    for (int i = 0; i < count; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(places[i].name, places[k].name) == 0)
                return reid_fail(err, REID_ERR_INVALID,
                                 "mpirun has started two reidds on the node '%s'; use mpirun -N 1",
                                 places[i].name);
            else if (strcmp(places[i].address, places[k].address) == 0)
                return reid_fail(err, REID_ERR_INVALID,
                                 "the nodes '%s' and '%s' both have the address %s; choose another "
                                 "with --network",
                                 places[k].name, places[i].name, places[i].address);
    return REID_OK;
}

static char *format_file(const place *places, int count, const char *network)
{
    reid_str text = REID_STR_INIT;
    reid_str_add(&text, "# Written by reidd-join when mpirun started these nodes together.\n");
    if (*network)
        reid_str_addf(&text, "network: %s\n", network);
    reid_str_add(&text, "nodes:\n");
    for (int i = 0; i < count; i++)
        reid_str_addf(&text, "  - {name: '%s', address: '%s'%s}\n", places[i].name,
                      places[i].address, i == 0 ? ", head: true" : "");
    return reid_str_take(&text);
}

static reid_status exchange(char **argv, char **ret_file, reid_error *err)
{
    int count = 0;
    place mine = {{0}, {0}};
    snprintf(mine.name, sizeof mine.name, "%s", argv[NODE]);
    snprintf(mine.address, sizeof mine.address, "%s", argv[ADDRESS]);
    if (MPI_Init(NULL, NULL) != MPI_SUCCESS)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "MPI does not start");
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    place *places = reid_xcalloc((size_t)count, sizeof *places);
    MPI_Allgather(&mine, (int)sizeof mine, MPI_CHAR, places, (int)sizeof mine, MPI_CHAR,
                  MPI_COMM_WORLD);
    MPI_Finalize();
    reid_status status = check_places(places, count, err);
    REID_AUTOFREE char *text = format_file(places, count, argv[NETWORK]);
    free(places);
    REID_TRY(status);
    REID_AUTOFREE char *path = reid_path_join(argv[STATE_DIR], "cluster.yml");
    REID_TRY(reid_make_dirs(argv[STATE_DIR], 0700, err));
    REID_TRY(reid_file_write_atomic(path, text, strlen(text), err));
    *ret_file = path;
    path = NULL;
    return REID_OK;
}

/* ---- on its own ---- */

/* What MPI and the resource manager's launcher have put there would make reidd's own mpirun think
 * that it is part of this one. */
static void scrub(void)
{
    static const char *const prefixes[] = {"OMPI_", "PMIX_", "OPAL_", "ORTE_",
                                           "PMI_",  "PRTE_", "HYDI_"};
    for (char **at = environ; *at;) {
        bool drop = false;
        for (size_t i = 0; i < REID_COUNT_OF(prefixes); i++)
            drop = drop || reid_str_starts(*at, prefixes[i]);
        REID_AUTOFREE char *name = reid_xstrndup(*at, strcspn(*at, "="));
        if (drop && unsetenv(name) == 0)
            continue; /* the next one has moved here */
        at++;
    }
}

static _Noreturn void become_reidd(char **argv, int count, const char *file, int log)
{
    size_t used = 0;
    char **words = reid_xcalloc((size_t)count + 5, sizeof *words);
    for (int i = PROGRAM; i < count; i++)
        words[used++] = argv[i];
    words[used++] = (char *)"--cluster";
    words[used++] = (char *)file;
    words[used++] = (char *)"--node";
    words[used++] = argv[NODE];
    setsid();
    scrub();
    int nothing = open("/dev/null", O_RDWR);
    if (dup2(nothing, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    long limit = sysconf(_SC_OPEN_MAX);
    for (int fd = 3; fd < (limit > 0 && limit < 65536 ? limit : 65536); fd++)
        close(fd);
    execv(words[0], words);
    dprintf(2, "reidd-join: cannot execute '%s': %s\n", words[0], strerror(errno));
    _exit(127);
}

static bool answers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    bool yes = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return yes;
}

static reid_status await(pid_t pid, const char *socket_path, reid_error *err)
{
    double end_s = reid_clock_seconds() + READY_SECONDS;
    while (reid_clock_seconds() < end_s) {
        int status = 0;
        if (waitpid(pid, &status, WNOHANG) == pid)
            return reid_fail(err, REID_ERR_UNAVAILABLE, "reidd has ended at once");
        if (answers(socket_path))
            return REID_OK;
        usleep(20000);
    }
    return reid_fail(err, REID_ERR_TIMEOUT, "reidd does not answer at '%s' after %d s", socket_path,
                     READY_SECONDS);
}

static void print_tail(const char *path, off_t from)
{
    char text[LOG_TAIL + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? pread(fd, text, LOG_TAIL, from) : 0;
    if (n > 0)
        fprintf(stderr, "%.*s", (int)n, text);
    if (fd >= 0)
        close(fd);
}

static reid_status start(char **argv, int count, const char *file, reid_error *err)
{
    REID_AUTOFREE char *log_path = reid_path_join(argv[STATE_DIR], "reidd.log");
    int log = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", log_path);
    off_t before = lseek(log, 0, SEEK_END);
    if (answers(argv[SOCKET_PATH])) {
        close(log);
        return reid_fail(err, REID_ERR_EXISTS, "there is a reidd at '%s' already",
                         argv[SOCKET_PATH]);
    }
    pid_t pid = fork();
    if (pid == 0)
        become_reidd(argv, count, file, log);
    close(log);
    if (pid < 0)
        return reid_fail_errno(err, errno, "cannot make a process");
    reid_status status = await(pid, argv[SOCKET_PATH], err);
    if (status != REID_OK)
        print_tail(log_path, before);
    return status;
}

int main(int argc, char **argv)
{
    reid_error err = {0};
    char *file = NULL;
    if (argc <= PROGRAM) {
        fputs("reidd-join is started by reidd when mpirun has started that:\n"
              "    mpirun -N 1 --hostfile hosts reidd OPTIONS\n",
              stderr);
        return 2;
    }
    umask(077);
    reid_status status = exchange(argv, &file, &err);
    if (status == REID_OK)
        status = start(argv, argc, file, &err);
    free(file);
    if (status == REID_OK)
        return 0;
    fprintf(stderr, "reidd-join: %s: %s\n", argv[NODE], err.text);
    return 1;
}
