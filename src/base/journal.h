/* The journal of interventions: an append-only file of JSON lines, each bound to the one before it.
 *
 *   {"seq":1,"id":"…","wall_ms":…,"who":"…","iteration":…,"kind":"set","name":"lr","old":"…",
 *    "new":"…","reason":"…","prev_hash":"<64 hex>","hash":"<64 hex>"}
 *
 * in one line and in this order. `hash` is the SHA-256 of the line's bytes before `,"hash":`;
 * `prev_hash` is the hash of the line before (64 zeros in the first). So a line that is changed,
 * moved or taken out of the middle shows, and is named. Lines cut off the end do not show in the
 * file alone: whoever keeps a copy compares (reid_journal_compare).
 *
 * Life of a writer: reid_journal_open → reid_journal_append → reid_journal_close. One writer at a
 * time. An unfinished last line (a writer that was killed) is cut off by the next writer: nobody
 * was told of it.
 */
#ifndef REID_BASE_JOURNAL_H
#define REID_BASE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "base/vec.h"

#define REID_JOURNAL_FILE "journal.jsonl" /* in OUTPUT_DIR */
#define REID_JOURNAL_LIMIT_BYTES (64u << 20)

typedef struct reid_journal_entry {
    int64_t seq; /* from 1, without gaps */
    int64_t wall_ms;
    int64_t iteration; /* it takes effect before this one */
    char *id, *who, *kind, *name, *old_value, *new_value, *reason; /* never NULL */
    char *line; /* as in the file, without the line's end; NULL before it is sealed */
} reid_journal_entry;

typedef struct reid_journal_entries {
    REID_VEC(reid_journal_entry)
    list;
} reid_journal_entries;

void reid_journal_entry_fini(reid_journal_entry *entry); /* zeroed is fine */
void reid_journal_entries_fini(reid_journal_entries *entries);

/* One line → entry, its own hash checked. CORRUPT with a sentence otherwise. */
reid_status reid_journal_parse(const char *line, size_t length, reid_journal_entry *ret_entry,
                               char ret_prev_hash[65], char ret_hash[65], reid_error *err);

typedef struct reid_journal_fault {
    int64_t line;   /* from 1; 0: there is none */
    char text[512]; /* what is wrong with it */
} reid_journal_fault;

/* Reads a text of whole lines. The entries before the fault are there in any case. An unfinished
 * last line is a fault. */
void reid_journal_read_text(const char *text, size_t length, reid_journal_entries *ret_entries,
                            reid_journal_fault *ret_fault);
/* The same from a file; one that is not there is empty. Errors are only those of reading. */
reid_status reid_journal_read(const char *path, reid_journal_entries *ret_entries,
                              reid_journal_fault *ret_fault, reid_error *err);
/* Whether the entry with this line's seq is this very line. Sets the fault otherwise, unless there
 * is one at an earlier line. */
void reid_journal_compare(const reid_journal_entries *entries, const char *line,
                          reid_journal_fault *fault);

typedef struct reid_journal reid_journal;

/* Opens or creates it for appending and returns what is in it. CORRUPT, with the line, when it has
 * been tampered with. */
reid_status reid_journal_open(const char *path, reid_journal **ret_journal,
                              reid_journal_entries *ret_entries, reid_error *err);
/* Gives the entries their seq and line, and writes them all: on the disk when it returns. On an
 * error none is written (what was is cut off again) and the entries are as before. */
reid_status reid_journal_append(reid_journal *journal, reid_journal_entry *entries, size_t count,
                                reid_error *err);
void reid_journal_close(reid_journal *journal); /* NULL is fine */

#endif
