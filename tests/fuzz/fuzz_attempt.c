/* What a job leaves in the folder of its attempt, and the daemon reads: the input is put into every
 * file, as JSON, number and text, and taken as a packed row of the spool. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "daemon/api/convert.h"
#include "daemon/exec/files.h"
#include "folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(reid_status status, reid_error *err)
{
    REID_ASSERT(status == err->code);
    *err = (reid_error){0};
}

static void read_files(const char *folder)
{
    reid_error err = {0};
    reidd_shim_info shim = {0};
    reidd_exit_report report = {0};
    reidd_rank_pids pids = {0};
    reidd_rank_exit end = {0};
    reidd_last_words words = {0};
    reidd_outcome outcome = {0};
    check(reidd_shim_info_read(folder, &shim, &err), &err);
    check(reidd_exit_report_read(folder, &report, &err), &err);
    check(reidd_rank_pids_read(folder, 0, &pids, &err), &err);
    check(reidd_rank_exit_read(folder, 0, &end, &err), &err);
    check(reidd_last_words_read(folder, 0, &words, &err), &err);
    check(reidd_outcome_read(folder, &outcome, &err), &err);
    REID_ASSERT(reidd_grace_read(folder, 7) >= 0);
    free(reidd_gpu_list_read(folder));
    REID_ASSERT(memchr(report.sentence, '\0', sizeof report.sentence));
    REID_ASSERT(memchr(shim.shm_dir, '\0', sizeof shim.shm_dir));
}

static void use_row(const reidd_row *row, void *user)
{
    REID_ASSERT(row->size > 0);
    for (size_t i = 0; i < row->scalar_count; i++)
        REID_ASSERT(row->scalars[i].name != NULL);
    *(bool *)user = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {
        "shim.json",    "exit.json", "ranks/rank-0.pid",     "ranks/rank-0.exit",
        "outcome.json", "grace",     "failures/rank-0.json", "gpus"};
    static char *folder;
    if (!folder)
        folder = fuzz_folder_new();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        free(reid_test_write(folder, names[i], data, size));
    read_files(folder);
    bool used = false;
    reid_error err = {0};
    reid_status status = reidd_convert_packed_row(data, size, 1, use_row, &used, &err);
    REID_ASSERT(status == err.code && used == (status == REID_OK));
    return 0;
}
