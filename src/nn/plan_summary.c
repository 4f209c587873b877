/* The plan as text: the part that ranks must agree on, and what people want to see. */
#include "base/str.h"
#include "nn/plan_impl.h"

static void add_node(reid_str *s, const reid_plan *plan, const reid_plan_node *node, bool hashed)
{
    char in[96], out[96];
    const reid_op_desc *d = &node->desc;
    bool norm = d->kind == REID_OP_BATCH_NORM || d->folded;
    reid_str_addf(s, "%s%s%s%s %s %s %s -> %s %s [%s]", reid_op_kind_name(d->kind),
                  d->folded ? "+norm" : "", norm && d->input_count > 1 ? "+add" : "",
                  d->relu ? "+relu" : "", node->name, reid_shape_text(in, &d->input[0]->shape),
                  d->input[0]->text, reid_shape_text(out, &d->output->shape), d->output->text,
                  node->op->kernels);
    if (!hashed && plan->options.profile && plan->runs)
        reid_str_addf(s, " forward %.3f ms backward %.3f ms recompute %.3f ms",
                      node->forward_seconds / (double)plan->runs * 1e3,
                      node->backward_seconds / (double)plan->runs * 1e3,
                      node->recompute_seconds / (double)plan->runs * 1e3);
    reid_str_add_char(s, '\n');
}

static void add_params(reid_str *s, const reid_params *params)
{
    for (size_t i = 0; i < params->count; i++) {
        const reid_param *p = &params->items[i];
        char shape[96];
        reid_str_addf(s, "%s %s %s offset %zu size %zu%s\n", p->name,
                      reid_shape_text(shape, &p->layout->shape), p->layout->text, p->offset,
                      p->size, p->trainable ? "" : " frozen");
    }
}

static double mib(size_t bytes)
{
    return (double)bytes / 1048576.0;
}

char *reid_plan_text(const reid_plan *plan, bool hashed)
{
    reid_str s = REID_STR_INIT;
    reid_str_addf(&s, "backend %s (%s), %s, %s\n", reid_backend_name(plan->backend),
                  plan->backend->impl->version(plan->backend),
                  reid_dtype_name(plan->options.compute),
                  plan->options.training ? "training" : "evaluation");
    for (size_t i = 0; i < plan->nodes.count; i++)
        add_node(&s, plan, &plan->nodes.items[i], hashed);
    if (hashed) {
        add_params(&s, plan->params);
        for (size_t i = 0; i < plan->scalars.count; i++)
            reid_str_addf(&s, "scalar %s %a\n", plan->scalars.items[i].name,
                          plan->scalars.items[i].weight);
    } else {
        reid_plan_stats stats = reid_plan_get_stats(plan);
        reid_plan_memory memory = reid_plan_get_memory(plan);
        reid_str_addf(&s,
                      "arena %.1f MiB (most alive at once %.1f MiB), parameters %.2f M floats\n"
                      "calls: forward %zu, backward %zu; reorders: activations %zu, weights %zu\n",
                      mib(stats.arena_bytes), mib(stats.live_peak_bytes),
                      (double)plan->params->total * 1e-6, stats.forward_calls, stats.backward_calls,
                      stats.activation_reorders, stats.weight_reorders);
        reid_str_addf(&s,
                      "values computed anew in backward: %zu; MiB when most is alive, in %s of "
                      "'%s': inputs %.1f, activations %.1f, gradients %.1f, workspaces %.1f, "
                      "scratch %.1f\n",
                      stats.recomputed, memory.backward ? "backward" : "forward", memory.where,
                      mib(memory.inputs), mib(memory.activations), mib(memory.gradients),
                      mib(memory.workspace), mib(memory.scratch));
    }
    return reid_str_take(&s);
}
