#include "base/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sha256.h"

#define HASH_KEY ",\"hash\":\""
#define HASH_PART (sizeof HASH_KEY - 1 + 64 + 2) /* ,"hash":"<64>"} */
#define NO_HASH "0000000000000000000000000000000000000000000000000000000000000000"

struct reid_journal {
    int fd;
    char *path;
    off_t size;
    int64_t seq; /* of the last line */
    char hash[65];
};

void reid_journal_entry_fini(reid_journal_entry *entry)
{
    free(entry->id);
    free(entry->who);
    free(entry->kind);
    free(entry->name);
    free(entry->old_value);
    free(entry->new_value);
    free(entry->reason);
    free(entry->line);
    *entry = (reid_journal_entry){0};
}

void reid_journal_entries_fini(reid_journal_entries *entries)
{
    for (size_t i = 0; i < entries->list.count; i++)
        reid_journal_entry_fini(&entries->list.items[i]);
    reid_vec_fini(&entries->list);
}

/* ---- a line ---- */

static void add_text(reid_json_writer *w, const char *key, const char *text)
{
    reid_json_key(w, key);
    reid_json_string(w, text);
}

static void add_int(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    reid_json_int(w, value);
}

static char *make_line(const reid_journal_entry *entry, const char *prev_hash, char ret_hash[65])
{
    reid_str line = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&line);
    reid_json_object(&w);
    add_int(&w, "seq", entry->seq);
    add_text(&w, "id", entry->id);
    add_int(&w, "wall_ms", entry->wall_ms);
    add_text(&w, "who", entry->who);
    add_int(&w, "iteration", entry->iteration);
    add_text(&w, "kind", entry->kind);
    add_text(&w, "name", entry->name);
    add_text(&w, "old", entry->old_value);
    add_text(&w, "new", entry->new_value);
    add_text(&w, "reason", entry->reason);
    add_text(&w, "prev_hash", prev_hash);
    reid_sha256_hex(line.data, line.length, ret_hash);
    add_text(&w, "hash", ret_hash);
    reid_json_end_object(&w);
    return reid_str_take(&line);
}

/* The hash that the line claims, when it has the form of one and is right. */
static bool check_hash(const char *line, size_t length, char ret_hash[65])
{
    if (length <= HASH_PART)
        return false;
    const char *part = line + length - HASH_PART;
    if (memcmp(part, HASH_KEY, sizeof HASH_KEY - 1) != 0 ||
        memcmp(line + length - 2, "\"}", 2) != 0)
        return false;
    reid_sha256_hex(line, length - HASH_PART, ret_hash);
    return memcmp(part + sizeof HASH_KEY - 1, ret_hash, 64) == 0;
}

static char *take_text(const reid_json *root, const char *key, bool *complete)
{
    const char *text = reid_json_as_string(reid_json_get(root, key), NULL);
    *complete &= text != NULL;
    return reid_xstrdup(text ? text : "");
}

static int64_t take_int(const reid_json *root, const char *key, bool *complete)
{
    int64_t value = reid_json_as_int(reid_json_get(root, key), -1);
    *complete &= value >= 0;
    return value;
}

reid_status reid_journal_parse(const char *line, size_t length, reid_journal_entry *ret_entry,
                               char ret_prev_hash[65], char ret_hash[65], reid_error *err)
{
    reid_json *root = NULL;
    if (!check_hash(line, length, ret_hash))
        return reid_fail(err, REID_ERR_CORRUPT, "its hash is not that of its contents");
    if (reid_json_parse(line, length, &root, NULL) != REID_OK)
        return reid_fail(err, REID_ERR_CORRUPT, "it is not JSON");
    bool complete = true;
    reid_journal_entry entry = {
        .seq = take_int(root, "seq", &complete),
        .wall_ms = take_int(root, "wall_ms", &complete),
        .iteration = take_int(root, "iteration", &complete),
        .id = take_text(root, "id", &complete),
        .who = take_text(root, "who", &complete),
        .kind = take_text(root, "kind", &complete),
        .name = take_text(root, "name", &complete),
        .old_value = take_text(root, "old", &complete),
        .new_value = take_text(root, "new", &complete),
        .reason = take_text(root, "reason", &complete),
    };
    const char *prev = reid_json_as_string(reid_json_get(root, "prev_hash"), "");
    complete &= strlen(prev) == 64;
    snprintf(ret_prev_hash, 65, "%s", prev);
    reid_json_free(root);
    if (!complete) {
        reid_journal_entry_fini(&entry);
        return reid_fail(err, REID_ERR_CORRUPT, "it lacks a member, or one has the wrong type");
    }
    entry.line = reid_xmalloc(length + 1);
    memcpy(entry.line, line, length);
    entry.line[length] = '\0';
    *ret_entry = entry;
    return REID_OK;
}

/* ---- reading ---- */

static void set_fault(reid_journal_fault *fault, int64_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void set_fault(reid_journal_fault *fault, int64_t line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fault->line = line;
    vsnprintf(fault->text, sizeof fault->text, format, args);
    va_end(args);
}

static bool read_line(const char *line, size_t length, int64_t number, char prev_hash[65],
                      reid_journal_entries *entries, reid_journal_fault *fault)
{
    reid_journal_entry entry = {0};
    reid_error err = {0};
    char claimed[65], hash[65];
    if (reid_journal_parse(line, length, &entry, claimed, hash, &err) != REID_OK) {
        set_fault(fault, number, "line %lld has been changed: %s", (long long)number, err.text);
        return false;
    }
    if (strcmp(claimed, prev_hash) != 0 || entry.seq != number) {
        set_fault(
            fault, number,
            "line %lld does not follow the line before it (it is entry %lld): lines have been "
            "removed, added or moved",
            (long long)number, (long long)entry.seq);
        reid_journal_entry_fini(&entry);
        return false;
    }
    memcpy(prev_hash, hash, sizeof hash);
    reid_vec_push(&entries->list, entry);
    return true;
}

void reid_journal_read_text(const char *text, size_t length, reid_journal_entries *ret_entries,
                            reid_journal_fault *ret_fault)
{
    char prev_hash[65] = NO_HASH;
    int64_t number = 1;
    *ret_entries = (reid_journal_entries){0};
    *ret_fault = (reid_journal_fault){0};
    for (size_t at = 0; at < length; number++) {
        const char *end = memchr(text + at, '\n', length - at);
        if (!end) {
            set_fault(ret_fault, number, "line %lld is not finished", (long long)number);
            return;
        }
        size_t size = (size_t)(end - (text + at));
        if (!read_line(text + at, size, number, prev_hash, ret_entries, ret_fault))
            return;
        at += size + 1;
    }
}

reid_status reid_journal_read(const char *path, reid_journal_entries *ret_entries,
                              reid_journal_fault *ret_fault, reid_error *err)
{
    char *text = NULL;
    size_t size = 0;
    *ret_entries = (reid_journal_entries){0};
    *ret_fault = (reid_journal_fault){0};
    if (!reid_path_exists(path))
        return REID_OK;
    if (!reid_path_is_file(path))
        return reid_fail(err, REID_ERR_INVALID, "'%s' is not a file", path);
    REID_TRY(reid_file_read_foreign(path, REID_JOURNAL_LIMIT_BYTES, &text, &size, err));
    reid_journal_read_text(text, size, ret_entries, ret_fault);
    free(text);
    return REID_OK;
}

void reid_journal_compare(const reid_journal_entries *entries, const char *line,
                          reid_journal_fault *fault)
{
    reid_journal_entry known = {0};
    char prev[65], hash[65];
    if (reid_journal_parse(line, strlen(line), &known, prev, hash, NULL) != REID_OK)
        return; /* the copy itself is of no use */
    int64_t seq = known.seq;
    reid_journal_entry_fini(&known);
    if (fault->line != 0 && fault->line <= seq)
        return;
    if (seq < 1 || (size_t)seq > entries->list.count)
        set_fault(fault, seq, "line %lld is missing", (long long)seq);
    else if (strcmp(entries->list.items[seq - 1].line, line) != 0)
        set_fault(fault, seq, "line %lld is not the one that was written", (long long)seq);
}

/* ---- writing ---- */

/* Where the last whole line ends. */
static size_t whole_lines(const char *text, size_t size)
{
    while (size > 0 && text[size - 1] != '\n')
        size--;
    return size;
}

static reid_status load(reid_journal *journal, reid_journal_entries *ret_entries, reid_error *err)
{
    char *text = NULL;
    size_t size = 0;
    REID_TRY(reid_file_read(journal->path, REID_JOURNAL_LIMIT_BYTES, &text, &size, err));
    reid_journal_fault fault;
    size_t whole = whole_lines(text, size);
    reid_journal_read_text(text, whole, ret_entries, &fault);
    free(text);
    if (fault.line != 0)
        return reid_fail(err, REID_ERR_CORRUPT,
                         "'%s' cannot be relied on: %s; move it away to go on without the "
                         "interventions in it",
                         journal->path, fault.text);
    if (whole != size) {
        reid_log_warn("'%s' had an unfinished last line; it was cut off", journal->path);
        if (ftruncate(journal->fd, (off_t)whole) != 0)
            return reid_fail_errno(err, errno, "cannot cut '%s'", journal->path);
    }
    journal->size = (off_t)whole;
    if (ret_entries->list.count > 0) {
        const reid_journal_entry *last = &ret_entries->list.items[ret_entries->list.count - 1];
        journal->seq = last->seq;
        memcpy(journal->hash, last->line + strlen(last->line) - 66, 64);
    }
    return REID_OK;
}

reid_status reid_journal_open(const char *path, reid_journal **ret_journal,
                              reid_journal_entries *ret_entries, reid_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    reid_journal *journal = reid_xcalloc(1, sizeof *journal);
    journal->fd = fd;
    journal->path = reid_xstrdup(path);
    memcpy(journal->hash, NO_HASH, sizeof journal->hash);
    *ret_entries = (reid_journal_entries){0};
    REID_AUTOFREE char *folder = reid_path_dir(path);
    reid_status status = reid_fsync_dir(folder, err);
    if (status == REID_OK)
        status = load(journal, ret_entries, err);
    if (status != REID_OK) {
        reid_journal_entries_fini(ret_entries);
        reid_journal_close(journal);
        return status;
    }
    *ret_journal = journal;
    return REID_OK;
}

static reid_status write_lines(reid_journal *journal, const reid_str *lines, reid_error *err)
{
    reid_status status =
        reid_write_all(journal->fd, lines->data, lines->length, journal->path, err);
    if (status == REID_OK && fsync(journal->fd) != 0)
        status = reid_fail_errno(err, errno, "cannot write '%s' to the disk", journal->path);
    if (status != REID_OK && ftruncate(journal->fd, journal->size) != 0)
        reid_log_warn("'%s' has an unfinished line at its end", journal->path);
    return status;
}

reid_status reid_journal_append(reid_journal *journal, reid_journal_entry *entries, size_t count,
                                reid_error *err)
{
    reid_str lines = REID_STR_INIT;
    char hash[65];
    memcpy(hash, journal->hash, sizeof hash);
    for (size_t i = 0; i < count; i++) {
        char next[65];
        entries[i].seq = journal->seq + 1 + (int64_t)i;
        entries[i].line = make_line(&entries[i], hash, next);
        memcpy(hash, next, sizeof hash);
        reid_str_addf(&lines, "%s\n", entries[i].line);
    }
    reid_status status = count > 0 ? write_lines(journal, &lines, err) : REID_OK;
    if (status == REID_OK) {
        journal->size += (off_t)lines.length;
        journal->seq += (int64_t)count;
        memcpy(journal->hash, hash, sizeof hash);
    }
    for (size_t i = 0; status != REID_OK && i < count; i++) {
        free(entries[i].line);
        entries[i].line = NULL;
        entries[i].seq = 0;
    }
    reid_str_fini(&lines);
    return status;
}

void reid_journal_close(reid_journal *journal)
{
    if (!journal)
        return;
    close(journal->fd);
    free(journal->path);
    free(journal);
}
