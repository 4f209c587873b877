#include <stdio.h>

#include "base/compiler.h"
#include "connect.h"
#include "out/json.h"
#include "out/screen.h"
#include "out/style.h"
#include "out/table.h"
#include "out/text.h"
#include "reid/v1/system.pb-c.h"

static void add_number(reidctl_table *table, int64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)number);
    reidctl_table_add(table, text, "");
}

static void print_table(const reidctl *ctl, const Reid__V1__InfoResponse *info)
{
    static const char *const head[] = {"LIMIT", "VALUE", "DEFAULT", "OF WHAT"};
    reidctl_table table = {.columns = REID_COUNT_OF(head), .elastic = 3};
    reid_str line = REID_STR_INIT, out = REID_STR_INIT;
    size_t columns = 0, lines;
    if (ctl->terminal)
        reidctl_screen_size(&columns, &lines);
    reid_str_addf(&line, "reidd %s", info->version);
    if (*info->node)
        reid_str_addf(&line, " on %s", info->node);
    reid_str_addf(&line, " at %s", ctl->address);
    if (*info->user)
        reid_str_addf(&line, ": you are %s, %s", info->user, info->role);
    else
        reid_str_add(&line, ": it is older than this reidctl, and does not tell who you are");
    if (*info->confinement)
        reid_str_addf(&line, "; %s", info->confinement);
    reidctl_add_clean(&out, reid_str_text(&line));
    reid_str_add(&out, "\n\n");
    if (info->n_limits == 0)
        reid_str_add(&out, "It tells no limits either.\n");
    for (size_t i = 0; info->n_limits > 0 && i < table.columns && !ctl->args.no_headers; i++)
        reidctl_table_add(&table, head[i], reidctl_bold(ctl->color));
    for (size_t i = 0; i < info->n_limits; i++) {
        const Reid__V1__Limit *limit = info->limits[i];
        reidctl_table_add(&table, limit->option, "");
        add_number(&table, limit->value);
        add_number(&table, limit->usual);
        reidctl_table_add(&table, limit->help, "");
    }
    if (info->n_limits > 0)
        reidctl_table_format(&table, columns, &out);
    fputs(reid_str_text(&out), stdout);
    reidctl_table_fini(&table);
    reid_str_fini(&line);
    reid_str_fini(&out);
}

/* What an older reidd does not tell is null. */
static void add_text(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    if (*value)
        reid_json_string(w, value);
    else
        reid_json_null(w);
}

static void print_json(const Reid__V1__InfoResponse *info)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reidctl_json_begin(&out);
    reid_json_object(&w);
    add_text(&w, "node", info->node);
    add_text(&w, "version", info->version);
    add_text(&w, "user", info->user);
    add_text(&w, "role", info->role);
    add_text(&w, "confinement", info->confinement);
    reid_json_key(&w, "limits");
    reid_json_array(&w);
    for (size_t i = 0; i < info->n_limits; i++) {
        const Reid__V1__Limit *limit = info->limits[i];
        reid_json_object(&w);
        add_text(&w, "option", limit->option);
        reid_json_key(&w, "value");
        reid_json_int(&w, limit->value);
        reid_json_key(&w, "default");
        reid_json_int(&w, limit->usual);
        add_text(&w, "of", limit->help);
        reid_json_end_object(&w);
    }
    reid_json_end_array(&w);
    reid_json_end_object(&w);
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}

int reidctl_cmd_info(reidctl *ctl)
{
    reid_error err = {0};
    Reid__V1__InfoRequest request = REID__V1__INFO_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    reid_status status = reidctl_connect(ctl, &err);
    if (status == REID_OK)
        status = reid_rpc_client_unary(ctl->client, "/reid.v1.SystemService/Info", &request.base,
                                       &reid__v1__info_response__descriptor, 10000, &answer, &err);
    if (status != REID_OK)
        return reidctl_report(&err);
    const Reid__V1__InfoResponse *info = (const Reid__V1__InfoResponse *)answer;
    reidctl_output_is(ctl, "json") ? print_json(info) : print_table(ctl, info);
    protobuf_c_message_free_unpacked(answer, NULL);
    return REIDCTL_OK;
}
