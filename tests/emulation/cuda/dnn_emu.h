/* cuDNN's graph interface: descriptors (dnn.c), their execution (dnn_run.c, dnn_math.c), and the
 * real cuDNN asked for a plan of every graph (dnn_real.c). */
#ifndef EMU_DNN_H
#define EMU_DNN_H

#include "emu.h"

#include <cudnn.h>

typedef struct emu_attr {
    int name, type;
    int64_t count;
    void *values; /* owned; descriptors are referenced */
    struct emu_attr *next;
} emu_attr;

typedef struct emu_desc {
    int type;
    int references;
    bool finalized;
    emu_attr *attrs;
    struct emu_desc *graph; /* of an engine, or of its configuration */
    int engine;             /* row of the table of engines */
} emu_desc;

struct cudnnContext {
    cudaStream_t stream;
    int device;
};

/* What an engine of the emulator does. Several are offered for each graph, so that a program that
 * takes the first one without looking is caught. */
typedef struct emu_engine {
    int index;
    bool deterministic;
    bool tf32; /* f32 inputs are rounded */
    int64_t workspace_bytes;
    int note_count;
    cudnnBackendNumericalNote_t notes[4];
} emu_engine;
extern const emu_engine emu_engines[];
int emu_engines_of(const emu_desc *graph, const emu_engine *ret_engines[4]);
const emu_engine *emu_engine_of(const emu_desc *config);

size_t emu_attr_bytes(int type);
emu_attr *emu_attr_find(const emu_desc *d, int name);
int64_t emu_attr_int(const emu_desc *d, int name, int64_t otherwise);
emu_desc *emu_attr_desc(const emu_desc *d, int name); /* the first one */
void emu_desc_ref(emu_desc *d);
void emu_desc_unref(emu_desc *d);
/* Remembers the sentence for cudnnGetLastErrorString. */
cudnnStatus_t emu_dnn_fail(cudnnStatus_t status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Tensors of an operation, in the order that the loops use. */
enum { EMU_DNN_TENSORS = 5 };
typedef enum emu_step_kind {
    EMU_STEP_FORWARD,   /* x w y */
    EMU_STEP_DATA,      /* dx w dy */
    EMU_STEP_FILTER,    /* x dw dy */
    EMU_STEP_MATMUL,    /* a b c */
    EMU_STEP_POINTWISE, /* x b y dx dy */
    EMU_STEP_KINDS
} emu_step_kind;
typedef struct emu_step_row {
    int type; /* of the operation's descriptor */
    int tensor[EMU_DNN_TENSORS];
    unsigned written; /* a bit for each tensor */
} emu_step_row;
extern const emu_step_row emu_step_rows[EMU_STEP_KINDS];
int emu_step_kind_of(const emu_desc *op); /* EMU_STEP_KINDS: none */

/* Dense numbers of a tensor: [n,h,w,c] of four dimensions, row-major of three. */
typedef struct emu_dense {
    int rank;
    int64_t dim[4]; /* as the descriptor has them: n c h w */
    float *data;
} emu_dense;
size_t emu_dense_count(const emu_dense *d);
size_t emu_dense_at(const emu_dense *d, const int64_t index[4]); /* broadcasts dimensions of one */

typedef struct emu_window {
    int64_t pad[2], stride[2], dilation[2];
} emu_window;
void emu_conv_forward(const emu_window *win, const emu_dense *x, const emu_dense *w, emu_dense *y);
void emu_conv_data(const emu_window *win, emu_dense *dx, const emu_dense *w, const emu_dense *dy);
void emu_conv_filter(const emu_window *win, const emu_dense *x, emu_dense *dw, const emu_dense *dy);
void emu_matmul(const emu_dense *a, const emu_dense *b, emu_dense *c);
/* mode: cudnnPointwiseMode_t; NULL tensors are not used by it. False: a mode that is not known. */
bool emu_pointwise(int mode, const emu_dense *x, const emu_dense *b, const emu_dense *dy,
                   emu_dense *out);

/* Sentence of the real cuDNN if it can plan nothing for the graph. */
cudnnStatus_t emu_dnn_judge(const emu_desc *graph);

#endif
