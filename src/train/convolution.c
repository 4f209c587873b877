#include "train/convolution.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/str.h"

#define FIRST_LINE "reidd convolutions 1\n"
#define TEXT_LIMIT ((size_t)1 << 20)

/* ---- the file ---- */

/* What says that two machines compute alike; values of the first processor. */
static void add_cpu(reid_str *text)
{
    static const char *const names[] = {"vendor_id", "cpu family", "model",      "model name",
                                        "stepping",  "CPU part",   "CPU variant"};
    char *data = NULL;
    size_t size = 0;
    if (reid_file_read("/proc/cpuinfo", (size_t)16 << 20, &data, &size, NULL) != REID_OK)
        return;
    char *end = strstr(data, "\n\n");
    if (end)
        *end = '\0';
    char *rest = NULL;
    for (char *line = strtok_r(data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *colon = strchr(line, ':');
        if (!colon)
            continue;
        *colon = '\0';
        const char *name = reid_str_trim(line);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            if (strcmp(name, names[i]) == 0)
                reid_str_addf(text, "%s %s, ", name, reid_str_trim(colon + 1));
    }
    free(data);
}

/* One line, with its end. */
static char *environment(const reid_session *session)
{
    reid_str text = REID_STR_INIT;
    add_cpu(&text);
    reid_str_addf(&text, "%d threads, %s %s\n", reid_backend_threads(session->backend),
                  reid_backend_name(session->backend), reid_backend_version(session->backend));
    return reid_str_take(&text);
}

/* The file for this machine and these shapes; NULL where there is no home for it. */
static char *cache_path(const reid_session *session)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    reid_str path = REID_STR_INIT;
    if (cache && cache[0] == '/')
        reid_str_addf(&path, "%s/reidd", cache);
    else if (home && home[0] == '/')
        reid_str_addf(&path, "%s/.cache/reidd", home);
    else
        return NULL;
    REID_AUTOFREE char *machine = environment(session);
    REID_AUTOFREE char *shapes =
        reid_tuning_shapes(session->model->train, session->backend, session->plan_options.compute);
    uint64_t hash = reid_hash64(shapes, strlen(shapes), reid_hash64(machine, strlen(machine), 0));
    reid_str_addf(&path, "/convolutions-%016llx.txt", (unsigned long long)hash);
    return reid_str_take(&path);
}

static bool covers(const reid_session *session, const reid_tuning *tuning)
{
    return reid_tuning_covers(tuning, session->model->train, session->backend,
                              session->plan_options.compute);
}

static char *file_text(const reid_session *session, const reid_tuning *tuning)
{
    REID_AUTOFREE char *machine = environment(session);
    REID_AUTOFREE char *rows = reid_tuning_text(tuning);
    reid_str text = REID_STR_INIT;
    reid_str_addf(&text, FIRST_LINE "%s%s", machine, rows);
    reid_str_addf(&text, "end %016llx\n",
                  (unsigned long long)reid_hash64(text.data, text.length, 0));
    return reid_str_take(&text);
}

/* The rows of a file that is whole and of this machine, or NULL; cuts the text. */
static const char *rows_of(const reid_session *session, char *text)
{
    REID_AUTOFREE char *machine = environment(session);
    char end[32];
    char *last = strstr(text, "\nend ");
    if (!last)
        return NULL;
    last++;
    snprintf(end, sizeof end, "end %016llx\n",
             (unsigned long long)reid_hash64(text, (size_t)(last - text), 0));
    if (strcmp(last, end) != 0)
        return NULL;
    *last = '\0';
    size_t head = strlen(FIRST_LINE);
    if (!reid_str_starts(text, FIRST_LINE) || !reid_str_starts(text + head, machine))
        return NULL;
    return text + head + strlen(machine);
}

/* False: there is no such file, or it is no good (*ret_damaged). */
static bool load(const reid_session *session, const char *path, reid_tuning *tuning,
                 bool *ret_damaged)
{
    REID_AUTOFREE char *text = NULL;
    size_t size = 0;
    *ret_damaged = false;
    if (!reid_path_exists(path))
        return false;
    *ret_damaged = true;
    if (reid_file_read(path, TEXT_LIMIT, &text, &size, NULL) != REID_OK || strlen(text) != size)
        return false;
    const char *rows = rows_of(session, text);
    if (!rows || reid_tuning_read(tuning, rows, NULL) != REID_OK || !covers(session, tuning))
        return false;
    *ret_damaged = false;
    return true;
}

/* Keeps the table, unless another run was first: then that one's is taken. */
static reid_status publish(reid_session *session, const char *path, reid_error *err)
{
    REID_AUTOFREE char *text = file_text(session, session->tuning);
    REID_AUTOFREE char *own = reid_xasprintf("%s.%ld-%llx", path, (long)getpid(),
                                             (unsigned long long)reid_clock_mono_ns());
    reid_status status = reid_file_write_atomic(own, text, strlen(text), err);
    if (status != REID_OK)
        return status;
    bool damaged = false, late = false;
    if (link(own, path) != 0) {
        late = errno == EEXIST;
        if (!late)
            status = reid_fail_errno(err, errno, "cannot make '%s'", path);
    }
    unlink(own);
    if (!late)
        return status;
    reid_tuning *theirs = reid_tuning_new();
    if (!load(session, path, theirs, &damaged)) {
        reid_tuning_free(theirs);
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' is damaged", path);
    }
    reid_tuning_free(session->tuning);
    session->tuning = theirs;
    reid_log_info("convolutions: another run was first to measure, its choice is taken");
    return REID_OK;
}

/* ---- rank 0 ---- */

static reid_status measure(reid_session *session, const char *path, reid_error *err)
{
    int measured = 0, winograd = 0;
    double start_s = reid_clock_seconds();
    REID_AUTOFREE char *folder = reid_path_dir(path);
    REID_TRY(reid_make_dirs(folder, 0700, err));
    if (access(folder, W_OK | X_OK) != 0)
        return reid_fail_errno(err, errno, "cannot write to '%s'", folder);
    REID_TRY(reid_tuning_measure(session->tuning, session->model->train, session->backend,
                                 session->plan_options.compute, &measured, &winograd, err));
    if (measured == 0)
        return REID_OK; /* the rule says all */
    reid_log_info("convolutions: measured %d directions in %.2f s, Winograd for %d; kept in '%s'",
                  measured, reid_clock_seconds() - start_s, winograd, path);
    return publish(session, path, err);
}

static bool take_from_checkpoint(reid_session *session, reid_state_reader *reader)
{
    REID_AUTOFREE char *text = reader ? reid_state_text(reader, REID_CONVOLUTIONS_FILE) : NULL;
    if (!text || reid_tuning_read(session->tuning, text, NULL) != REID_OK)
        return false;
    return covers(session, session->tuning);
}

static void find_table(reid_session *session, reid_state_reader *reader)
{
    bool damaged = false;
    reid_error why = {0};
    if (take_from_checkpoint(session, reader)) {
        reid_log_info("convolutions: as in the checkpoint");
        return;
    }
    REID_AUTOFREE char *path = cache_path(session);
    if (path && load(session, path, session->tuning, &damaged)) {
        reid_log_info("convolutions: as measured before, from '%s'", path);
        return;
    }
    if (damaged) {
        reid_log_warn("'%s' is damaged: convolutions are measured anew, and runs may differ in "
                      "their last bits from those before",
                      path);
        unlink(path);
    }
    if (path && measure(session, path, &why) == REID_OK)
        return;
    reid_tuning_free(session->tuning);
    session->tuning = reid_tuning_new();
    reid_log_warn("convolutions: chosen by a rule, for a measurement could not be kept: %s",
                  path ? why.text : "neither XDG_CACHE_HOME nor HOME is set");
}

/* ---- all ranks ---- */

static reid_status share(reid_session *session, reid_error *err)
{
    if (session->comm->size == 1)
        return REID_OK;
    REID_AUTOFREE char *text = NULL;
    uint64_t size = 0;
    if (session->comm->rank == 0) {
        text = reid_tuning_text(session->tuning);
        size = strlen(text);
    }
    REID_TRY(reid_comm_broadcast(session->comm, &size, sizeof size, 0, err));
    if (session->comm->rank != 0)
        text = reid_xcalloc(1, size + 1);
    if (size > 0)
        REID_TRY(reid_comm_broadcast(session->comm, text, size, 0, err));
    return session->comm->rank == 0 ? REID_OK : reid_tuning_read(session->tuning, text, err);
}

reid_status reid_session_choose_convolutions(reid_session *session, reid_state_reader *reader,
                                             reid_error *err)
{
    if (strcmp(reid_config_string(session->config, "MODEL.CONVOLUTION"), "auto") != 0)
        return REID_OK;
    session->tuning = reid_tuning_new();
    if (session->comm->rank == 0)
        find_table(session, reader);
    REID_TRY(share(session, err));
    session->plan_options.tuning = session->tuning;
    return REID_OK;
}
