/* Which values are not kept from forward to backward but computed anew when backward wants them.
 *
 * A value can go when its operation can recompute it (op->impl->recompute) from what lives until
 * then anyway: x of a batch norm is there for its own backward, and a shortcut for the weight
 * gradient of the convolution that reads it. So the price is one sweep over memory, no product.
 * Where an input has been dropped, too, it is restored first; how long such a chain may get is what
 * tells the levels apart. A value whose absence does not lower the most that is alive at once is
 * kept after all: nothing is computed twice for nothing (Chen et al. 2016, "Training deep nets with
 * sublinear memory cost", drops the same cheap operations; Rota Bulò et al. 2018 invert them). */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "nn/plan_impl.h"

#define NEVER INT_MAX

reid_recompute reid_recompute_of_name(const char *name)
{
    static const char *const names[] = {"none", "norm", "block", "stage"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return (reid_recompute)i;
    return REID_RECOMPUTE_NONE;
}

/* How many recomputations may follow each other to restore one value. */
static int longest_chain(reid_recompute level)
{
    return level == REID_RECOMPUTE_STAGE ? NEVER : 1;
}

/* Per value: the first node whose backward reads it, which runs last; NEVER: none. */
static int *first_readers(const reid_plan *plan)
{
    int *first = reid_xcalloc(plan->value_count + 1, sizeof *first);
    for (size_t i = 0; i < plan->value_count; i++)
        first[i] = plan->values[i].kept || plan->values[i].input != REID_INPUT_NONE ? -1 : NEVER;
    for (size_t i = 0; i < plan->nodes.count; i++) {
        const reid_plan_node *node = &plan->nodes.items[i];
        for (int k = 0; node->backward && k < node->desc.input_count; k++)
            if (node->op->needs_input[k])
                first[node->input[k]] = REID_MIN(first[node->input[k]], (int)i);
        if (node->backward && node->op->needs_output)
            first[node->output] = REID_MIN(first[node->output], (int)i);
    }
    return first;
}

static bool may_drop(const reid_plan *plan, const reid_plan_node *node)
{
    bool one_input = node->desc.input_count == 1;
    return node->backward && node->op->impl->recompute && !plan->values[node->output].kept &&
           (one_input || plan->options.recompute != REID_RECOMPUTE_NORM);
}

/* Recomputations in a row that restore the output of node i; NEVER: cannot. */
static int chain_of(const reid_plan *plan, size_t i, const int *first, const int *chain)
{
    const reid_plan_node *node = &plan->nodes.items[i];
    int longest = 0;
    if (!may_drop(plan, node))
        return NEVER;
    for (int k = 0; k < node->desc.input_count; k++) {
        reid_value input = node->input[k];
        bool lives = !plan->values[input].dropped && first[input] <= (int)i;
        int links = lives ? 0 : chain[input];
        if (links == NEVER)
            return NEVER;
        longest = REID_MAX(longest, links);
    }
    return longest + 1;
}

void reid_plan_drop_values(reid_plan *plan)
{
    if (plan->options.recompute == REID_RECOMPUTE_NONE || !plan->options.training)
        return;
    int *first = first_readers(plan), *chain = reid_xcalloc(plan->value_count + 1, sizeof *chain);
    for (size_t i = 0; i < plan->value_count; i++)
        chain[i] = NEVER;
    for (size_t i = 0; i < plan->nodes.count; i++) {
        reid_value output = plan->nodes.items[i].output;
        int links = chain_of(plan, i, first, chain);
        if (links <= longest_chain(plan->options.recompute) && links != NEVER) {
            chain[output] = links;
            plan->values[output].dropped = true;
        }
    }
    free(first);
    free(chain);
}
