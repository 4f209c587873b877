#include "out/entry.h"

#include <stdio.h>

#include "base/json.h"
#include "base/str.h"
#include "out/json.h"

static void add(reid_json_writer *w, const char *key, const char *text)
{
    reid_json_key(w, key);
    reid_json_string(w, text);
}

void reidctl_print_entry_json(const Reid__V1__JournalEntry *entry)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reidctl_json_begin(&out);
    reid_json_object(&w);
    reid_json_key(&w, "seq");
    reid_json_int(&w, entry->seq);
    add(&w, "id", entry->id);
    reid_json_key(&w, "wall_ms");
    reid_json_int(&w, entry->wall_ms);
    add(&w, "who", entry->who);
    reid_json_key(&w, "iteration");
    reid_json_int(&w, entry->iteration);
    add(&w, "kind", entry->kind);
    add(&w, "name", entry->name);
    add(&w, "old", entry->old);
    add(&w, "new", entry->new_);
    add(&w, "reason", entry->reason);
    add(&w, "hash", entry->hash);
    reid_json_end_object(&w);
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}
