/* A fork: a training that begins with the state that another run had before an iteration, and goes
 * on with a configuration of its own in an OUTPUT_DIR of its own.
 *
 *     reid-train --fork-from DIR --fork-iter N OUTPUT_DIR there SOLVER.BASE_LR 1e-4
 *
 * What the state at N is: fork_source.h. The fork's journal begins with the lines of that run up to
 * the last one that counts, and then tells where it comes from (kind "fork", old the folder, new
 * the checkpoint that was used); words of the copied lines that take effect from N on are void. Its
 * first checkpoint, model_iter_N, holds the state at N, so that from then on it needs DIR no more
 * and is resumed like any run.
 *
 * Where DIR has no checkpoint of N, a leg comes first: a session with that run's configuration,
 * with its journal replayed, in OUTPUT_DIR/.fork, on the same ranks. Its metrics and checkpoints
 * are thrown away but for the last. With the number of ranks that the run had it gives the same
 * bits. A fork that is killed before its first checkpoint begins anew.
 */
#ifndef REID_TRAIN_FORK_H
#define REID_TRAIN_FORK_H

#include "engine/hook.h"
#include "train/session.h"

/* INVALID when the fork would write into `dir`. */
reid_status reid_fork_check_folder(const char *dir, const reid_config *config, reid_error *err);
/* For --check-only. `config` has its number of classes. */
reid_status reid_fork_check(const reid_train_options *options, const reid_config *config,
                            const reid_dataset *dataset, reid_error *err);

/* Collective, with ranks, folder, data and link open: decides which checkpoint the session starts
 * from, follows the run if need be, and writes the journal. */
reid_status reid_fork_begin(reid_session *session, reid_error *err);
/* Collective, before the first step: saves model_iter_N. */
reid_status reid_fork_save(reid_session *session, reid_error *err);

/* Inside: ends a leg before iteration `until`. */
reid_hook *reid_fork_end_hook_new(int64_t until);

#endif
