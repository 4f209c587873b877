#include "out/event.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "out/entry.h"
#include "out/json.h"
#include "out/text.h"

void reidctl_add_event_head(reid_str *out)
{
    reid_str_addf(out, "%-6s  %-19s  %-8s  %s", "NUMBER", "WHEN", "KIND", "DETAIL");
}

void reidctl_add_event(reid_str *out, const Reid__V1__JobEvent *event)
{
    reid_str kind = REID_STR_INIT;
    char when[32] = "-";
    time_t seconds = (time_t)(event->wall_ms / 1000);
    struct tm local;
    if (localtime_r(&seconds, &local) != NULL)
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &local);
    reidctl_add_clean(&kind, event->kind);
    reid_str_addf(out, "%6lld  %-19s  %-8s  ", (long long)event->number, when,
                  reid_str_text(&kind));
    if (strcmp(event->kind, "journal") == 0)
        reidctl_add_journal_line(out, event->detail);
    else
        reidctl_add_clean(out, event->detail);
    reid_str_fini(&kind);
}

void reidctl_add_event_json(reid_str *out, const Reid__V1__JobEvent *event)
{
    reid_json_writer w = reidctl_json_begin(out);
    reid_json_object(&w);
    reid_json_key(&w, "number");
    reid_json_int(&w, event->number);
    reid_json_key(&w, "attempt");
    reid_json_int(&w, event->attempt);
    reid_json_key(&w, "wall_ms");
    reid_json_int(&w, event->wall_ms);
    reid_json_key(&w, "kind");
    reid_json_string(&w, event->kind);
    reid_json_key(&w, "detail");
    reid_json_string(&w, event->detail);
    reid_json_end_object(&w);
}
