/* Evaluation of a network on the data sets of DATASETS.TESTS by all ranks: each extracts the
 * features of its shard, rank 0 ranks them by the Market-1501 protocol. A rank that fails returns
 * its error; its caller then ends all ranks (reid_comm_abort), since the others wait for it.
 *
 * Every rank computes with rank 0's running statistics, the ones that a checkpoint holds, so that
 * the figures are those of the saved network and do not depend on the number of ranks.
 */
#ifndef REID_TRAIN_EVALUATE_H
#define REID_TRAIN_EVALUATE_H

#include "comm/comm.h"
#include "config/config.h"
#include "engine/hooks/eval_hook.h"
#include "evaluation/report.h"
#include "modeling/model.h"
#include "nn/params.h"
#include "nn/plan.h"

typedef struct reid_evaluator reid_evaluator;

/* Opens the data sets; the evaluation plan and the loaders are made by the first run. All are
 * borrowed. */
reid_status reid_evaluator_new(const reid_config *config, reid_comm *comm, reid_backend *backend,
                               const reid_model *model, reid_params *params,
                               const reid_plan_options *training_options,
                               reid_evaluator **ret_evaluator, reid_error *err);
void reid_evaluator_free(reid_evaluator *evaluator);

/* Collective. On rank 0 adds the results (`results` may be NULL) and logs fast-reid's table. A
 * reid_eval_fn with the evaluator as `user`. */
reid_status reid_evaluator_run(void *evaluator, reid_eval_results *results, reid_error *err);

/* Figures of the last run, one report per data set; NULL on other ranks than 0 and before the first
 * run. Borrowed. */
const reid_eval_report *reid_evaluator_reports(const reid_evaluator *evaluator, size_t *ret_count);

/* Images per evaluation step of each rank. */
int reid_evaluator_batch(const reid_config *config, int world);

#endif
