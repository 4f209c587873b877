/* Which algorithm each convolution of a training takes, per direction, where the backend can do it
 * in several ways.
 *
 * A table by shape. Life: reid_tuning_new → reid_tuning_read of a text that was kept, or
 * reid_tuning_measure → plans that are given it (reid_plan_options.tuning) → reid_tuning_free after
 * the plans are made. Another algorithm gives other bits: a table is measured once, on one rank,
 * and then kept as a text for the other ranks, for later runs and for the checkpoints.
 *
 * The text has one line per shape, such as
 * "n64 c64 o64 32x16 k3 s1 p1 f32 winograd direct rule" with the algorithms of the output, of the
 * gradients of the weights and of those of the input; `rule`: by the backend's rule of shapes.
 * Threads: one at a time.
 */
#ifndef REID_NN_TUNING_H
#define REID_NN_TUNING_H

#include "backend/backend.h"
#include "nn/graph.h"

typedef struct reid_tuning reid_tuning;

reid_tuning *reid_tuning_new(void);
void reid_tuning_free(reid_tuning *tuning);
size_t reid_tuning_count(const reid_tuning *tuning); /* shapes */

/* Whether all convolutions of the training graph are in the table. */
bool reid_tuning_covers(const reid_tuning *tuning, const reid_graph *training_graph,
                        reid_backend *backend, reid_dtype compute);
/* Adds those that are missing. Returns in how many directions something was measured, and in how
 * many of these Winograd was chosen. */
reid_status reid_tuning_measure(reid_tuning *tuning, const reid_graph *training_graph,
                                reid_backend *backend, reid_dtype compute, int *ret_measured,
                                int *ret_winograd, reid_error *err);

/* Caller frees. */
char *reid_tuning_text(const reid_tuning *tuning);
/* Adds the rows of a text; those of a shape that is there already are passed over. INVALID names
 * the line that is none; the table is as before then. */
reid_status reid_tuning_read(reid_tuning *tuning, const char *text, reid_error *err);
/* The shapes of the graph as a text, one a line; caller frees. */
char *reid_tuning_shapes(const reid_graph *training_graph, reid_backend *backend,
                         reid_dtype compute);

#endif
