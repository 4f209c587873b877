/* ca init, issue, revoke, show */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/vec.h"
#include "connect.h"
#include "out/json.h"
#include "out/screen.h"
#include "out/style.h"
#include "out/table.h"
#include "rpc/ca.h"

enum { AUTHORITY_DAYS = 3650, NODE_DAYS = 825, USER_DAYS = 365, DAY_S = 86400 };

/* What means a connection everywhere else is easily taken for a node's hosts here. */
static reid_status refuse_address(const reidctl *ctl, reid_error *err)
{
    if (ctl->args.host == NULL && ctl->args.tls_dir == NULL)
        return REID_OK;
    return reid_fail(err, REID_ERR_INVALID,
                     "%s asks no reidd and takes no %s; what a node is reached at is --hosts of "
                     "ca issue",
                     ctl->command->name, ctl->args.host != NULL ? "-H, --host" : "--tls-dir");
}

int reidctl_cmd_ca_init(reidctl *ctl)
{
    reid_error err = {0};
    if (refuse_address(ctl, &err) != REID_OK)
        return reidctl_report(&err);
    const char *dir = ctl->words[0];
    const char *name = ctl->args.name != NULL ? ctl->args.name : "reidd-authority";
    int days = ctl->args.days > 0 ? (int)ctl->args.days : AUTHORITY_DAYS;
    if (reid_rpc_ca_init(dir, name, days, &err) != REID_OK)
        return reidctl_report(&err);
    fprintf(stderr, "reidctl: %s/ca-key.pem signs certificates; keep it here, and keep a copy\n",
            dir);
    printf("%s\n", dir);
    return REIDCTL_OK;
}

/* ---- issue ---- */

typedef REID_VEC(const char *) host_list;

/* Cuts `text`, which the hosts then point into. */
static void split_hosts(char *text, host_list *hosts)
{
    char *rest = text;
    for (char *host; (host = strsep(&rest, ",")) != NULL;)
        if (*host != '\0')
            reid_vec_push(hosts, host);
}

static char *join_hosts(const reidctl_texts *list)
{
    reid_str text = REID_STR_INIT;
    reid_str_add(&text, "");
    for (size_t i = 0; i < list->count; i++)
        reid_str_addf(&text, "%s,", list->items[i]);
    return reid_str_take(&text);
}

int reidctl_cmd_ca_issue(reidctl *ctl)
{
    reid_error err = {0};
    if (refuse_address(ctl, &err) != REID_OK)
        return reidctl_report(&err);
    const char *role = ctl->args.role != NULL ? ctl->args.role : "node";
    char *text = join_hosts(&ctl->args.hosts);
    char *out = ctl->args.out != NULL ? reid_xstrdup(ctl->args.out)
                                      : reid_path_join(ctl->words[0], ctl->words[1]);
    host_list hosts = {0};
    split_hosts(text, &hosts);
    const reid_rpc_ca_request request = {
        .name = ctl->words[1],
        .role = role,
        .hosts = hosts.items,
        .host_count = hosts.count,
        .days = ctl->args.days > 0          ? (int)ctl->args.days
                : strcmp(role, "node") == 0 ? NODE_DAYS
                                            : USER_DAYS,
    };
    reid_status status = reid_rpc_ca_issue(ctl->words[0], &request, out, &err);
    if (status == REID_OK)
        printf("%s\n", out);
    reid_vec_fini(&hosts);
    free(text);
    free(out);
    return status == REID_OK ? REIDCTL_OK : reidctl_report(&err);
}

int reidctl_cmd_ca_revoke(reidctl *ctl)
{
    reid_error err = {0};
    unsigned count = 0;
    const char *dir = ctl->words[0];
    if (refuse_address(ctl, &err) != REID_OK)
        return reidctl_report(&err);
    if (reid_rpc_ca_revoke(dir, ctl->words[1], &count, &err) != REID_OK)
        return reidctl_report(&err);
    fprintf(stderr,
            "reidctl: %u newly revoked; copy %s/crl.pem to the folders of all nodes, it counts "
            "there without a restart, and for connections that stand\n",
            count, dir);
    return REIDCTL_OK;
}

/* ---- show ---- */

static void format_day(char buffer[32], int64_t time_s)
{
    time_t t = (time_t)time_s;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(buffer, 32, "%Y-%m-%d", &tm);
}

static const char *state_of(const char *file, const reid_rpc_certificate *certificate)
{
    int64_t now = (int64_t)time(NULL);
    char *own = reid_path_dir(file), *above = reid_path_dir(own);
    bool revoked = reid_rpc_ca_has_revoked(own, certificate->serial) ||
                   reid_rpc_ca_has_revoked(above, certificate->serial);
    free(own);
    free(above);
    if (revoked)
        return "revoked";
    return now > certificate->until_s ? "expired" : now < certificate->from_s ? "future" : "valid";
}

static void add_row(reidctl_table *table, const char *file, const reid_rpc_certificate *certificate)
{
    char until[32];
    format_day(until, certificate->until_s);
    reidctl_table_add(table, file, "");
    reidctl_table_add(table, certificate->name, "");
    reidctl_table_add(table, certificate->is_authority ? "authority" : certificate->role, "");
    reidctl_table_add(table, state_of(file, certificate), "");
    reidctl_table_add(table, until, "");
    reidctl_table_add(table, certificate->issuer, "");
    reidctl_table_add(table, certificate->serial, "");
    reidctl_table_add(table, certificate->hosts, "");
}

static void add_text(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    reid_json_string(w, value);
}

static void add_json(reid_json_writer *w, const char *file, const reid_rpc_certificate *certificate)
{
    reid_json_object(w);
    add_text(w, "file", file);
    add_text(w, "name", certificate->name);
    add_text(w, "role", certificate->is_authority ? "authority" : certificate->role);
    add_text(w, "state", state_of(file, certificate));
    add_text(w, "issuer", certificate->issuer);
    add_text(w, "serial", certificate->serial);
    add_text(w, "hosts", certificate->hosts);
    reid_json_key(w, "from_s");
    reid_json_int(w, certificate->from_s);
    reid_json_key(w, "until_s");
    reid_json_int(w, certificate->until_s);
    reid_json_end_object(w);
}

typedef struct listing {
    reidctl_table table;
    reid_str json;
    reid_json_writer writer;
    unsigned count, bad;
} listing;

static reid_status show_file(listing *list, const char *path, reid_error *err)
{
    reid_rpc_certificate certificate;
    REID_TRY(reid_rpc_certificate_read(path, &certificate, err));
    add_row(&list->table, path, &certificate);
    add_json(&list->writer, path, &certificate);
    list->count++;
    list->bad += strcmp(state_of(path, &certificate), "valid") != 0;
    reid_rpc_certificate_fini(&certificate);
    return REID_OK;
}

/* A folder's own certificates, and with an authority's those of the folders in it. */
static reid_status show_folder(listing *list, const char *dir, int depth, reid_error *err)
{
    static const char *const names[] = {"ca.pem", "cert.pem"};
    reid_status status = REID_OK;
    for (int i = depth; i < 2 && status == REID_OK; i++) {
        char *path = reid_path_join(dir, names[i]);
        if (reid_path_exists(path))
            status = show_file(list, path, err);
        free(path);
    }
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    if (status == REID_OK && depth == 0)
        status = reid_dir_list(dir, &entries, &count, err);
    for (size_t i = 0; i < count && status == REID_OK; i++) {
        char *path = reid_path_join(dir, entries[i].name);
        if (entries[i].is_dir)
            status = show_folder(list, path, depth + 1, err);
        free(path);
    }
    reid_dir_free(entries, count);
    return status;
}

int reidctl_cmd_ca_show(reidctl *ctl)
{
    static const char *const head[] = {"FILE",  "NAME",   "ROLE",   "STATE",
                                       "UNTIL", "ISSUER", "SERIAL", "HOSTS"};
    reid_error err = {0};
    reid_str text = REID_STR_INIT;
    listing list = {.table = {.columns = 8, .elastic = 7}};
    list.writer = reidctl_json_begin(&list.json);
    list.writer.item_separator = ",\n";
    reid_json_array(&list.writer);
    for (size_t i = 0; i < 8 && !ctl->args.no_headers; i++)
        reidctl_table_add(&list.table, head[i], reidctl_bold(ctl->color));
    const char *path = ctl->words[0];
    reid_status status = refuse_address(ctl, &err);
    if (status == REID_OK)
        status = reid_path_is_dir(path) ? show_folder(&list, path, 0, &err)
                                        : show_file(&list, path, &err);
    if (status == REID_OK && list.count == 0)
        status = reid_fail(&err, REID_ERR_NOT_FOUND, "there is no certificate in '%s'", path);
    reid_json_end_array(&list.writer);
    size_t columns = 0, lines = 0;
    if (ctl->terminal)
        reidctl_screen_size(&columns, &lines);
    reidctl_table_format(&list.table, columns, &text);
    if (status == REID_OK && reidctl_output_is(ctl, "json"))
        puts(reid_str_text(&list.json));
    else if (status == REID_OK)
        fputs(reid_str_text(&text), stdout);
    reidctl_table_fini(&list.table);
    reid_str_fini(&list.json);
    reid_str_fini(&text);
    if (status != REID_OK)
        return reidctl_report(&err);
    return list.bad > 0 ? REIDCTL_FAILED : REIDCTL_OK;
}
