/* An entry of a job's journal as a line of JSON, and in words. */
#ifndef REIDCTL_OUT_ENTRY_H
#define REIDCTL_OUT_ENTRY_H

#include "base/str.h"
#include "reid/v1/control.pb-c.h"

/* To standard output. */
void reidctl_print_entry_json(const Reid__V1__JournalEntry *entry);

/* "lr 0.1 -> 0.2 before iteration 30", "checkpoint before iteration 30", in a line. To standard
 * output. */
void reidctl_print_entry_text(const Reid__V1__JournalEntry *entry);
/* The same and who it was and why, for an entry as it stands in the journal's file: "set lr 0.1 ->
 * 0.2 before iteration 30, by ada: too fast". What is no entry is added as it is. */
void reidctl_add_journal_line(reid_str *out, const char *line);

/* A hook as the journal has it (JSON), in a few words: "lua (312 bytes), every 10, when
 * total_loss > 5". What is no hook is added as it is. */
void reidctl_add_hook_words(reid_str *out, const char *json);

#endif
