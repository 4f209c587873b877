/* PeriodicWriter: lets writers write when (iter + 1) is a multiple of the period, at the last
 * iteration, after every epoch and at the end of the training, where it also closes them. Register
 * it last, so that evaluation results are written.
 *
 * fast-reid does not write at the end; results of an evaluation in after_train would then appear in
 * no file. The state is each writer's mark of what it has written. An error of a writer is a
 * warning and the end of that writer, unless the writer is strict.
 */
#ifndef REID_ENGINE_HOOKS_PERIODIC_WRITER_H
#define REID_ENGINE_HOOKS_PERIODIC_WRITER_H

#include "engine/hook.h"
#include "events/writer.h"

#define REID_PERIODIC_WRITER_PERIOD 200 /* of fast-reid's default trainer */

/* period ≥ 1 iterations. Takes the writers; NULL ones are dropped. */
reid_hook *reid_periodic_writer_new(int64_t period, reid_event_writer *const *own_writers,
                                    size_t count);

#endif
