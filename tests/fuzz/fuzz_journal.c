/* Files that are appended to. The first byte of the input chooses: 'j' the rest is a journal; 'c'
 * the rest are contents of a journal's lines (from '{' to before "prev_hash"), which are chained;
 * 'r' the rest is a file of records. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/journal.h"
#include "base/log.h"
#include "base/recordfile.h"
#include "base/sha256.h"
#include "folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *folder;

/* ---- journals ---- */

static void append_one(const char *path, size_t known)
{
    reid_journal *journal = NULL;
    reid_journal_entries entries = {0};
    reid_error err = {0};
    reid_status status = reid_journal_open(path, &journal, &entries, &err);
    REID_ASSERT(status == err.code);
    if (status != REID_OK)
        return;
    REID_ASSERT(entries.list.count == known);
    reid_journal_entry entry = {.wall_ms = 1, .iteration = 2};
    char **texts[] = {&entry.id,        &entry.who,       &entry.kind,  &entry.name,
                      &entry.old_value, &entry.new_value, &entry.reason};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        *texts[i] = reid_xstrdup("\"\n\\ü");
    REID_ASSERT(reid_journal_append(journal, &entry, 1, &err) == REID_OK);
    reid_journal_close(journal);
    reid_journal_entry_fini(&entry);
    reid_journal_entries_fini(&entries);
    reid_journal_fault fault;
    REID_ASSERT(reid_journal_read(path, &entries, &fault, &err) == REID_OK);
    REID_ASSERT(fault.line == 0 && entries.list.count == known + 1);
    reid_journal_entries_fini(&entries);
}

static void run_journal(const char *text, size_t size)
{
    reid_journal_entries entries;
    reid_journal_fault fault;
    reid_journal_read_text(text, size, &entries, &fault);
    for (size_t i = 0; i < entries.list.count; i++) {
        reid_journal_fault same = {0};
        REID_ASSERT(entries.list.items[i].seq == (int64_t)i + 1);
        reid_journal_compare(&entries, entries.list.items[i].line, &same);
        REID_ASSERT(same.line == 0);
    }
    char *path = reid_test_write(folder, "journal.jsonl", text, size);
    append_one(path, entries.list.count);
    free(path);
    reid_journal_entries_fini(&entries);
}

static void run_contents(const char *text, size_t size)
{
    reid_str whole = REID_STR_INIT;
    char prev[65], hash[65];
    memset(prev, '0', 64);
    prev[64] = '\0';
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t length = end ? (size_t)(end - (text + at)) : size - at;
        size_t begin = whole.length;
        reid_str_add_bytes(&whole, text + at, length);
        reid_str_addf(&whole, ",\"prev_hash\":\"%s\"", prev);
        reid_sha256_hex(whole.data + begin, whole.length - begin, hash);
        reid_str_addf(&whole, ",\"hash\":\"%s\"}\n", hash);
        memcpy(prev, hash, sizeof prev);
        at += length + 1;
    }
    run_journal(reid_str_text(&whole), whole.length);
    reid_str_fini(&whole);
}

/* ---- records ---- */

static size_t count_records(const char *path, bool *ret_corrupt)
{
    reid_record_file *file = NULL;
    reid_error err = {0};
    size_t count = 0;
    REID_ASSERT(reid_record_file_read_open(path, &file, &err) == REID_OK);
    for (;; count++) {
        const uint8_t *data;
        size_t size;
        reid_status status = reid_record_file_next(file, &data, &size, &err);
        REID_ASSERT(status == err.code);
        *ret_corrupt = status != REID_OK;
        if (status != REID_OK || !data)
            break;
        REID_ASSERT(size <= REID_RECORD_LIMIT_BYTES);
    }
    reid_record_file_free(file);
    return count;
}

/* A writer goes on after the last whole record. */
static void run_records(const uint8_t *data, size_t size)
{
    char *path = reid_test_write(folder, "records", data, size);
    bool corrupt = false;
    size_t before = count_records(path, &corrupt);
    reid_record_file *file = NULL;
    reid_error err = {0};
    reid_status status = reid_record_file_append_open(path, &file, &err);
    REID_ASSERT((status != REID_OK) == corrupt);
    if (status == REID_OK) {
        REID_ASSERT(reid_record_file_append(file, "one more", 8, &err) == REID_OK);
        reid_record_file_free(file);
        REID_ASSERT(count_records(path, &corrupt) == before + 1 && !corrupt);
    }
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!folder) {
        reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .program = "fuzz", .rank = -1});
        folder = fuzz_folder_new();
    }
    if (size == 0)
        return 0;
    if (data[0] == 'r')
        run_records(data + 1, size - 1);
    else if (data[0] == 'c')
        run_contents((const char *)data + 1, size - 1);
    else
        run_journal((const char *)data + 1, size - 1);
    return 0;
}
