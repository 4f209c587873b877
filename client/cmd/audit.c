#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"
#include "connect.h"
#include "out/entry.h"
#include "out/screen.h"
#include "out/style.h"
#include "out/table.h"
#include "out/text.h"

static void add_row(reidctl_table *table, const Reid__V1__JournalEntry *entry)
{
    char number[32], when[32] = "";
    time_t seconds = (time_t)(entry->wall_ms / 1000);
    struct tm local;
    if (localtime_r(&seconds, &local) != NULL)
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &local);
    snprintf(number, sizeof number, "%lld", (long long)entry->seq);
    reidctl_table_add(table, number, "");
    snprintf(number, sizeof number, "%lld", (long long)entry->iteration);
    reidctl_table_add(table, number, "");
    reidctl_table_add(table, entry->kind, "");
    reidctl_table_add(table, entry->name, "");
    reidctl_table_add(table, entry->old, "");
    reid_str new = REID_STR_INIT; /* of a script, not 64 KiB */
    if (strcmp(entry->kind, "hook_add") == 0)
        reidctl_add_hook_words(&new, entry->new_);
    else
        reid_str_add(&new, entry->new_);
    reidctl_table_add(table, reid_str_text(&new), "");
    reid_str_fini(&new);
    reidctl_table_add(table, entry->who, "");
    reidctl_table_add(table, when, "");
    reidctl_table_add(table, entry->reason, "");
}

static reid_status fetch(reidctl *ctl, int64_t after_seq, Reid__V1__AuditResponse **ret_answer,
                         reid_error *err)
{
    Reid__V1__AuditRequest request = REID__V1__AUDIT_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    request.id = ctl->words[0];
    request.after_seq = after_seq;
    REID_TRY(reidctl_call_service(ctl, "ControlService", "Audit", &request.base,
                                  &reid__v1__audit_response__descriptor, &answer, err));
    *ret_answer = (Reid__V1__AuditResponse *)answer;
    return REID_OK;
}

static void print_entries(reidctl *ctl, const Reid__V1__AuditResponse *answer, bool first)
{
    static const char *const head[] = {"SEQ", "ITERATION", "KIND", "NAME",  "OLD",
                                       "NEW", "WHO",       "WHEN", "REASON"};
    if (reidctl_output_is(ctl, "json")) {
        for (size_t i = 0; i < answer->n_entries; i++)
            reidctl_print_entry_json(answer->entries[i]);
        return;
    }
    reidctl_table table = {.columns = REID_COUNT_OF(head), .elastic = 8};
    reid_str out = REID_STR_INIT;
    size_t columns = 0, lines;
    if (ctl->terminal)
        reidctl_screen_size(&columns, &lines);
    for (size_t i = 0; i < table.columns && first && !ctl->args.no_headers; i++)
        reidctl_table_add(&table, head[i], reidctl_bold(ctl->color));
    for (size_t i = 0; i < answer->n_entries; i++)
        add_row(&table, answer->entries[i]);
    reidctl_table_format(&table, columns, &out);
    fputs(reid_str_text(&out), stdout);
    reid_str_fini(&out);
    reidctl_table_fini(&table);
}

/* The verdict goes to standard error: standard output is the journal. */
static int report(const reidctl *ctl, const Reid__V1__AuditResponse *answer, int64_t entries)
{
    reid_str text = REID_STR_INIT;
    fflush(stdout);
    if (answer->sound && ctl->args.verify) {
        fprintf(stderr, "reidctl: the journal is sound: %lld entries\n", (long long)entries);
        return REIDCTL_OK;
    }
    if (answer->sound)
        return REIDCTL_OK;
    reidctl_add_clean(&text, answer->path);
    reid_str_add(&text, ": ");
    reidctl_add_clean(&text, answer->fault);
    fprintf(stderr, "reidctl: the journal was tampered with: %s\n", reid_str_text(&text));
    reid_str_fini(&text);
    return REIDCTL_FAILED;
}

int reidctl_cmd_audit(reidctl *ctl)
{
    int64_t after_seq = 0, entries = 0;
    for (bool more = true, first = true; more; first = false) {
        Reid__V1__AuditResponse *answer = NULL;
        reid_error err = {0};
        if (fetch(ctl, after_seq, &answer, &err) != REID_OK)
            return reidctl_report(&err);
        print_entries(ctl, answer, first);
        entries += (int64_t)answer->n_entries;
        more = answer->more && answer->n_entries > 0;
        if (more)
            after_seq = answer->entries[answer->n_entries - 1]->seq;
        int code = more ? REIDCTL_OK : report(ctl, answer, entries);
        reid__v1__audit_response__free_unpacked(answer, NULL);
        if (!more)
            return code;
    }
    return REIDCTL_OK;
}
