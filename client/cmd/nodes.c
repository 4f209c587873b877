/* `nodes`, its verbs, and what `top` shows of the nodes. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "connect.h"
#include "live.h"
#include "out/nodes.h"
#include "out/screen.h"

static reid_status ask(reidctl *ctl, Reid__V1__NodesResponse **ret_list, reid_error *err)
{
    const Reid__V1__NodesRequest request = REID__V1__NODES_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    REID_TRY(reidctl_call_service(ctl, "SystemService", "Nodes", &request.base,
                                  &reid__v1__nodes_response__descriptor, &answer, err));
    *ret_list = (Reid__V1__NodesResponse *)answer;
    return REID_OK;
}

static reidctl_nodes_sight sight_of(const reidctl *ctl)
{
    reidctl_nodes_sight sight = {
        .color = ctl->color, .headers = !ctl->args.no_headers, .now_ms = reid_clock_wall_ms()};
    size_t lines;
    if (ctl->terminal)
        reidctl_screen_size(&sight.columns, &lines);
    return sight;
}

static int print_once(reidctl *ctl, void (*add)(const Reid__V1__NodesResponse *,
                                                const reidctl_nodes_sight *, reid_str *))
{
    Reid__V1__NodesResponse *list = NULL;
    reid_error err = {0};
    if (ask(ctl, &list, &err) != REID_OK)
        return reidctl_report(&err);
    reid_str out = REID_STR_INIT;
    reidctl_nodes_sight sight = sight_of(ctl);
    if (reidctl_output_is(ctl, "json"))
        reidctl_nodes_json(list, &out);
    else
        add(list, &sight, &out);
    fputs(reid_str_text(&out), stdout);
    reid_str_fini(&out);
    reid__v1__nodes_response__free_unpacked(list, NULL);
    return REIDCTL_OK;
}

static reid_status set_node(reidctl *ctl, const char *name, bool drained, reid_error *err)
{
    Reid__V1__SetNodeRequest request = REID__V1__SET_NODE_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    request.name = (char *)name;
    request.drained = drained;
    request.reason = (char *)(ctl->args.reason != NULL ? ctl->args.reason : "");
    REID_TRY(reidctl_call_service(ctl, "SystemService", "SetNode", &request.base,
                                  &reid__v1__node__descriptor, &answer, err));
    const Reid__V1__Node *node = (const Reid__V1__Node *)answer;
    if (reidctl_output_is(ctl, "json")) {
        Reid__V1__Node *one = (Reid__V1__Node *)answer;
        Reid__V1__NodesResponse list = REID__V1__NODES_RESPONSE__INIT;
        reid_str out = REID_STR_INIT;
        list.n_nodes = 1;
        list.nodes = &one;
        reidctl_nodes_json(&list, &out);
        fputs(reid_str_text(&out), stdout);
        reid_str_fini(&out);
    } else if (drained) {
        printf("%s takes no new jobs%s\n", name,
               node->n_jobs > 0 ? "; what runs there goes on" : "");
    } else {
        printf("%s takes jobs%s\n", name, node->down ? " as soon as it is up" : "");
    }
    protobuf_c_message_free_unpacked(answer, NULL);
    return REID_OK;
}

int reidctl_cmd_nodes(reidctl *ctl)
{
    reid_error err = {0};
    if (ctl->word_count == 0)
        return print_once(ctl, reidctl_nodes_table);
    bool drained = strcmp(ctl->words[0], "drain") == 0;
    if (!drained && strcmp(ctl->words[0], "resume") != 0)
        reid_fail(&err, REID_ERR_INVALID, "nodes can be drained and resumed, not '%s'",
                  ctl->words[0]);
    else if (ctl->word_count == 1)
        reid_fail(&err, REID_ERR_INVALID, "nodes %s needs the name of a node", ctl->words[0]);
    for (int i = 1; i < ctl->word_count && err.code == REID_OK; i++)
        set_node(ctl, ctl->words[i], drained, &err);
    return err.code == REID_OK ? REIDCTL_OK : reidctl_report(&err);
}

reid_status reidctl_look_at_gpus(reidctl *ctl, size_t columns, reid_str *out, reid_error *err)
{
    Reid__V1__NodesResponse *list = NULL;
    reidctl_nodes_sight sight = sight_of(ctl);
    sight.columns = columns;
    REID_TRY(ask(ctl, &list, err));
    if (reidctl_output_is(ctl, "json"))
        reidctl_nodes_json(list, out);
    else
        reidctl_nodes_top(list, &sight, out);
    reid__v1__nodes_response__free_unpacked(list, NULL);
    return REID_OK;
}
