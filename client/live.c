#include "live.h"

#include <stdio.h>

#include "base/clock.h"
#include "connect.h"
#include "out/screen.h"

#define SLICE_MS 100 /* between looks at Ctrl-C */

/* Keeps the first `lines` lines. */
static void cut_lines(reid_str *picture, size_t lines)
{
    size_t at = 0;
    for (; lines > 0 && at < picture->length; at++)
        lines -= picture->data[at] == '\n';
    if (at < picture->length) {
        picture->data[at] = '\0';
        picture->length = at;
    }
}

static void draw(reidctl_screen *screen, reid_str *picture)
{
    reid_str out = REID_STR_INIT;
    size_t columns, lines;
    reidctl_screen_size(&columns, &lines);
    cut_lines(picture, lines > 1 ? lines - 1 : 1); /* the cursor is below */
    reidctl_screen_draw(screen, reid_str_text(picture), columns, &out);
    fwrite(reid_str_text(&out), 1, out.length, stdout);
    fflush(stdout);
    reid_str_fini(&out);
}

/* Whether it may come back: a socket may be there before its permissions are. */
static bool is_away(reid_status status)
{
    return status == REID_ERR_UNAVAILABLE || status == REID_ERR_TIMEOUT ||
           status == REID_ERR_CANCELLED || status == REID_ERR_PERMISSION;
}

/* A reidd that was never there, or has gone for longer than --reconnect: its error. */
static int follow(reidctl *ctl, reidctl_look *look, reidctl_screen *screen)
{
    double seen_s = reid_clock_seconds();
    while (!reidctl_is_stopped()) {
        reid_str picture = REID_STR_INIT;
        reid_error err = {0};
        size_t columns, lines;
        double now_s = reid_clock_seconds(), next_s = now_s + ctl->args.interval;
        reidctl_screen_size(&columns, &lines);
        if (look(ctl, columns, &picture, &err) == REID_OK) {
            seen_s = now_s;
        } else {
            reidctl_disconnect(ctl);
            if (!is_away(err.code) || screen->widths.count == 0 ||
                now_s - seen_s >= ctl->args.reconnect) {
                reid_str_fini(&picture);
                return reidctl_report(&err);
            }
            reid_str_clear(&picture);
            reid_str_add(&picture, "reidd is away; looking for it\n");
        }
        draw(screen, &picture);
        reid_str_fini(&picture);
        while (!reidctl_is_stopped() && reid_clock_seconds() < next_s)
            reidctl_pause(SLICE_MS);
    }
    return reidctl_is_interrupted() ? REIDCTL_OK : REIDCTL_INTERRUPTED;
}

static int look_once(reidctl *ctl, reidctl_look *look)
{
    reid_str out = REID_STR_INIT;
    reid_error err = {0};
    size_t columns = 0, lines;
    if (ctl->terminal)
        reidctl_screen_size(&columns, &lines);
    reid_status status = look(ctl, columns, &out, &err);
    if (status == REID_OK)
        fputs(reid_str_text(&out), stdout);
    reid_str_fini(&out);
    return status == REID_OK ? REIDCTL_OK : reidctl_report(&err);
}

int reidctl_live(reidctl *ctl, reidctl_look *look)
{
    reidctl_screen screen = {0};
    if (!ctl->terminal || reidctl_output_is(ctl, "json"))
        return look_once(ctl, look);
    reidctl_catch_interrupt();
    int code = follow(ctl, look, &screen);
    reidctl_screen_fini(&screen);
    return code;
}
