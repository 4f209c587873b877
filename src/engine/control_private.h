/* What the files of the control share: control_queue.c, control.c (agreement, order, resume),
 * control_words.c (what there is to say). */
#ifndef REID_ENGINE_CONTROL_PRIVATE_H
#define REID_ENGINE_CONTROL_PRIVATE_H

#include "engine/control.h"

#define REID_KNOBS_MAX 64

struct reid_control {
    reid_hook base;
    reid_control_options options;
    char *journal_path;
    reid_journal *journal;            /* rank 0, once there is a word */
    reid_journal_entries batch;       /* rank 0: written, not shared yet */
    reid_str text;                    /* the lines of `batch`, or what rank 0 has sent */
    reid_journal_entries pending;     /* in order of (iteration, seq) */
    int64_t done_iteration, done_seq; /* the last word that was applied; -1: none */
    bool changed[REID_KNOBS_MAX];
    reid_control_outcome outcome;
    bool skip_step;   /* the iteration that comes next */
    bool added_guest; /* one that has wished for something already, maybe */
};

/* One row per kind of word. */
typedef struct reid_word_kind {
    const char *name;
    bool replayed; /* on resume; a stop or pause has been obeyed */
    bool between;  /* takes effect between two iterations, not before a step that has begun */
    /* Rank 0: why not, or the entries that it makes, without seq. NULL: one plain entry. */
    reid_status (*make)(reid_control *control, const reid_control_request *request,
                        int64_t iteration, reid_journal_entries *entries, reid_error *err);
    /* All ranks, before the entry's iteration. */
    reid_status (*obey)(reid_control *control, const reid_journal_entry *word, reid_error *err);
} reid_word_kind;

const reid_word_kind *reid_word_kind_find(const char *name); /* NULL: unknown */

/* Owned texts; the empty ones are there. */
reid_journal_entry reid_control_entry(const reid_control_request *request, int64_t iteration,
                                      const char *name, const char *old_value,
                                      const char *new_value);
void reid_control_set_knob(reid_control *control, const char *name, const char *text);

reid_control_request reid_control_queue_take(reid_control_queue *queue); /* id NULL: it is empty */

#endif
