/* Jobs whose ranks are on several nodes: between the manager and cluster/agent.h. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/exec/programs.h"
#include "daemon/manager_private.h"
#include "daemon/sched/nodes.h"

/* The nodes are told to stop, and have to send what is left. */
#define SETTLE_MS 10000

static void avoid(reidd_job *job, const char *node)
{
    if (reidd_names_have(job->avoid, node))
        return;
    char *names =
        job->avoid && *job->avoid ? reid_xasprintf("%s,%s", job->avoid, node) : reid_xstrdup(node);
    free(job->avoid);
    job->avoid = names;
}

static void on_failed(const char *node, const char *sentence, void *user)
{
    reidd_active *active = user;
    avoid(&active->job, node);
    active->unsaved = true;
    /* When the attempt has ended already, a rank that is to blame stays so. */
    bool known = active->ending && active->outcome.report.rank >= 0;
    if (!active->own_failure && !active->job.cancel.wanted && !known) {
        active->own_failure = reid_xstrdup(sentence);
        active->own_rank = -1;
    }
    reid_log_warn("job stopped id=%s %s", active->job.id, sentence);
    reidd_active_stop(active, REIDD_PART_ABORT_MS);
    reidd_active_describe(active);
}

static void on_settled(void *user)
{
    reidd_active *active = user;
    reidd_active_close_crew(active);
    reidd_active_attempt_over(active);
}

static void on_late(const char *node, const char *job_id, int attempt, void *user)
{
    reidd_manager *manager = user;
    reidd_late_add(manager->late, node, job_id, attempt);
}

void reidd_manager_open_crews(reidd_manager *manager)
{
    manager->late = reidd_late_new(manager);
    manager->crews =
        reidd_crews_new(manager->loop, manager->cluster, manager->state_dir, on_late, manager);
}

static const reidd_crew_events events = {.on_failed = on_failed, .on_settled = on_settled};

/* mpirun gives the first numbers to the ranks of its own node, wherever that is in its list. */
static void put_self_first(reidd_job *job, const char *self)
{
    reidd_placement placement = {0};
    reid_str text = REID_STR_INIT;
    if (reidd_placement_parse(job->placement, &placement, NULL) != REID_OK)
        return;
    for (int mine = 1; mine >= 0; mine--)
        for (size_t i = 0; i < placement.count; i++) {
            const reidd_share *share = &placement.items[i];
            if ((strcmp(share->node, self) == 0) == mine)
                reid_str_addf(&text, "%s%s:%d", text.length > 0 ? "," : "", share->node,
                              share->ranks);
        }
    reidd_node_set_text(&job->placement, reid_str_text(&text));
    reid_str_fini(&text);
    reidd_placement_fini(&placement);
}

reid_status reidd_active_open_crew(reidd_active *active, bool adopted, reid_error *err)
{
    reidd_manager *manager = active->manager;
    const reidd_job *job = &active->job;
    if (!manager->crews || reidd_active_ranks_here(active) == job->ranks)
        return REID_OK;
    put_self_first(&active->job, reidd_cluster_self(manager->cluster)->name);
    REID_AUTOFREE char *folder = reidd_manager_attempt_dir(manager, job->id, job->attempt);
    REID_AUTOFREE char *job_dir = reidd_manager_job_dir(manager, job->id);
    REID_AUTOFREE char *config = reid_xasprintf("%s/config.yaml", job_dir);
    const reidd_crew_spec spec = {
        .job_id = job->id,
        .name = job->name,
        .user = job->user,
        .attempt = job->attempt,
        .folder = folder,
        .config_path = config,
        .ticket = active->ticket,
        .placement = job->placement,
        .ranks = job->ranks,
        .grace_ms = manager->grace_ms,
        .adopted = adopted,
    };
    return reidd_crew_new(manager->crews, &spec, &events, active, &active->crew, err);
}

void reidd_active_close_crew(reidd_active *active)
{
    reidd_crew_close(active->crew);
    active->crew = NULL;
}

bool reidd_active_finish_crew(reidd_active *active)
{
    if (active->crew)
        reidd_crew_finish(active->crew, SETTLE_MS);
    return active->crew != NULL;
}

reid_status reidd_active_fill_spread(const reidd_active *active, reidd_attempt_spec *spec,
                                     char **ret_agent, reid_error *err)
{
    const reidd_cluster *cluster = active->manager->cluster;
    if (!active->crew)
        return REID_OK;
    REID_TRY(reidd_program_find("reidctl", ret_agent, err));
    const char *network = reidd_cluster_get_file(cluster)->network;
    spec->hosts = active->job.placement;
    spec->node = reidd_cluster_self(cluster)->name;
    spec->network = network ? network : reidd_cluster_self(cluster)->host;
    spec->agent = *ret_agent;
    return REID_OK;
}

int reidd_active_ranks_here(const reidd_active *active)
{
    const reidd_job *job = &active->job;
    return reidd_placement_ranks_on(job->placement, job->ranks, active->manager->nodes, 0);
}

/* A rank that a signal has ended may have had a sick machine under it; one that says what is wrong
 * has not. */
void reidd_active_note_sick(const reidd_active *active, reidd_job *job, const reidd_end *end)
{
    reidd_placement placement = {0};
    if (!active->manager->crews || end->signal == 0 || end->rank < 0 || !job->placement ||
        reidd_placement_parse(job->placement, &placement, NULL) != REID_OK)
        return;
    int first = 0;
    for (size_t i = 0; i < placement.count; i++) {
        if (end->rank >= first && end->rank < first + placement.items[i].ranks)
            avoid(job, placement.items[i].node);
        first += placement.items[i].ranks;
    }
    reidd_placement_fini(&placement);
}

reid_status reidd_manager_agent(reidd_manager *manager, const reidd_agent_request *request,
                                const reidd_agent_events *agent_events, void *user,
                                reidd_agent **ret_agent, reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(reidd_manager_find_attempt(manager, request->job_id, request->attempt, &active, err));
    REID_TRY(reidd_active_check_ticket(active, request->ticket, err));
    if (!active->crew)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s has no ranks on other nodes",
                         request->job_id);
    reid_status status = reidd_crew_attach(active->crew, request->host, request->words,
                                           request->word_count, agent_events, user, ret_agent, err);
    /* What mpirun asks for is refused: the next attempt would be, too. */
    if (status == REID_ERR_PERMISSION && active->job.state == REIDD_STARTING &&
        !active->own_failure) {
        active->own_failure = reid_xstrdup(err->text);
        active->own_rank = -1;
        active->own_code = REIDD_EXIT_USAGE;
        reidd_active_stop(active, 0);
    }
    return status;
}
