#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "config/config.h"
#include "connect.h"
#include "out/json.h"
#include "out/style.h"

static bool is_wanted(const reidctl *ctl, size_t key)
{
    for (int i = 0; i < ctl->word_count; i++)
        if (strcasestr(reid_config_key_name(key), ctl->words[i]) == NULL &&
            strcasestr(reid_config_key_help(key), ctl->words[i]) == NULL)
            return false;
    return true;
}

static void print_key(const reidctl *ctl, size_t key)
{
    const char *value = reid_config_key_default(key);
    char *supported = reid_config_key_supported(key);
    printf("%s%s%s %s, default %s%s%s\n    %s\n", reidctl_bold(ctl->color),
           reid_config_key_name(key), reidctl_plain(ctl->color), reid_config_key_type_name(key),
           *value != '\0' ? value : "''", *supported != '\0' ? "; supported: " : "", supported,
           reid_config_key_help(key));
    free(supported);
}

static void add_text(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    reid_json_string(w, value);
}

static void add_key(reid_json_writer *w, size_t key)
{
    char *supported = reid_config_key_supported(key);
    reid_json_object(w);
    add_text(w, "key", reid_config_key_name(key));
    add_text(w, "type", reid_config_key_type_name(key));
    add_text(w, "default", reid_config_key_default(key));
    add_text(w, "supported", supported);
    add_text(w, "help", reid_config_key_help(key));
    reid_json_end_object(w);
    free(supported);
}

int reidctl_cmd_keys(reidctl *ctl)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reidctl_json_begin(&out);
    bool json = reidctl_output_is(ctl, "json");
    size_t found = 0;
    w.item_separator = ",\n";
    reid_json_array(&w);
    for (size_t key = 0; key < reid_config_key_count(); key++) {
        if (!is_wanted(ctl, key))
            continue;
        found++;
        if (json)
            add_key(&w, key);
        else
            print_key(ctl, key);
    }
    reid_json_end_array(&w);
    if (json)
        puts(reid_str_text(&out));
    reid_str_fini(&out);
    if (found > 0)
        return REIDCTL_OK;
    reid_error err = {0};
    reid_fail(&err, REID_ERR_NOT_FOUND, "no configuration key has these words in its name or help");
    return reidctl_report(&err);
}
