#include "out/entry.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "out/json.h"
#include "out/text.h"

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

static const char *get(const reid_json *json, const char *key)
{
    return reid_json_as_string(reid_json_get(json, key), "");
}

/* Appends ", key value, value" of a list of texts, unless it is empty. */
static void add_list(reid_str *out, const reid_json *json, const char *key, const char *before)
{
    const reid_json *list = reid_json_get(json, key);
    for (size_t i = 0; i < reid_json_count(list); i++) {
        reid_str_add(out, i == 0 ? before : " ");
        reid_str_add(out, reid_json_as_string(reid_json_at(list, i), ""));
    }
}

static void add_source(reid_str *out, const reid_json *json)
{
    const char *kind = get(json, "kind"), *source = get(json, "source");
    reid_str_add(out, kind);
    if (strcmp(kind, "lua") == 0)
        reid_str_addf(out, " (%zu bytes)", strlen(source));
    else if (*source != '\0')
        reid_str_addf(out, " %s", source);
}

void reidctl_add_hook_words(reid_str *out, const char *text)
{
    reid_json *json = NULL;
    if (reid_json_parse(text, strlen(text), &json, NULL) != REID_OK || *get(json, "kind") == '\0') {
        reid_str_add(out, text);
        reid_json_free(json);
        return;
    }
    int64_t every = reid_json_as_int(reid_json_get(json, "every"), 1);
    add_source(out, json);
    add_list(out, json, "options", ", ");
    add_list(out, json, "points", ", ");
    if (every > 1)
        reid_str_addf(out, ", every %lld", (long long)every);
    if (*get(json, "when") != '\0')
        reid_str_addf(out, ", when %s", get(json, "when"));
    if (reid_json_as_bool(reid_json_get(json, "asynchronous"), false))
        reid_str_add(out, ", async");
    reid_json_free(json);
}

static void add_words(reid_str *out, const char *kind, const char *name, const char *old,
                      const char *new)
{
    reid_str words = REID_STR_INIT;
    bool set = strcmp(kind, "set") == 0, added = strcmp(kind, "hook_add") == 0;
    if (!set)
        reid_str_addf(&words, "%s%s", kind, *name != '\0' ? " " : "");
    reid_str_add(&words, name);
    if (set)
        reid_str_addf(&words, " %s -> %s", old, new);
    else if (*old != '\0')
        reid_str_addf(&words, " (%s)", old);
    if (added)
        reid_str_add(&words, ": ");
    if (added)
        reidctl_add_hook_words(&words, new);
    else if (!set && *new != '\0')
        reid_str_addf(&words, " %s", new);
    reidctl_add_clean(out, reid_str_text(&words));
    reid_str_fini(&words);
}

void reidctl_print_entry_text(const Reid__V1__JournalEntry *entry)
{
    reid_str line = REID_STR_INIT;
    add_words(&line, entry->kind, entry->name, entry->old, entry->new_);
    printf("%s before iteration %lld\n", reid_str_text(&line), (long long)entry->iteration);
    reid_str_fini(&line);
}

void reidctl_add_journal_line(reid_str *out, const char *line)
{
    reid_json *json = NULL;
    if (reid_json_parse(line, strlen(line), &json, NULL) != REID_OK || *get(json, "kind") == '\0') {
        reidctl_add_clean(out, line);
        reid_json_free(json);
        return;
    }
    if (strcmp(get(json, "kind"), "set") == 0)
        reid_str_add(out, "set ");
    add_words(out, get(json, "kind"), get(json, "name"), get(json, "old"), get(json, "new"));
    reid_str_addf(out, " before iteration %lld, by ",
                  (long long)reid_json_as_int(reid_json_get(json, "iteration"), 0));
    reidctl_add_clean(out, get(json, "who"));
    if (*get(json, "reason") != '\0') {
        reid_str_add(out, ": ");
        reidctl_add_clean(out, get(json, "reason"));
    }
    reid_json_free(json);
}
