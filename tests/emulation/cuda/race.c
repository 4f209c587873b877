/* Accesses that nothing orders. An access conflicts with an earlier one of the same bytes when one
 * of them writes; it is ordered after it when its operation's clock has reached the other's epoch.
 */
#include "kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void emu_clock_join(emu_clock *into, const emu_clock *from)
{
    for (int i = 0; i < EMU_ACTORS; i++)
        if (from->at[i] > into->at[i])
            into->at[i] = from->at[i];
}

typedef struct access {
    size_t lo, hi;
    bool write;
} access;

static void tell(const emu_alloc *a, const access *now, const emu_op *op, const emu_record *then)
{
    emu_report("RACE",
               "%s of bytes [%zu,%zu) of the %zu-byte allocation %#lx by '%s' (stream %u) is not "
               "ordered after the %s of [%zu,%zu) by '%s' (stream %u): an event wait or a "
               "synchronization is missing",
               now->write ? "write" : "read", now->lo, now->hi, a->size, a->va, op->name,
               emu_stream_id(op->stream), then->write ? "write" : "read", then->lo, then->hi,
               then->op, then->actor);
}

static void remember(emu_alloc *a, const access *now, const emu_op *op)
{
    if (a->record_count == a->record_capacity) {
        a->record_capacity = a->record_capacity ? 2 * a->record_capacity : 8;
        a->records = realloc(a->records, sizeof *a->records * (size_t)a->record_capacity);
    }
    emu_record *r = &a->records[a->record_count++];
    *r = (emu_record){now->lo, now->hi, emu_stream_id(op->stream), op->epoch, now->write, ""};
    snprintf(r->op, sizeof r->op, "%.*s", (int)sizeof r->op - 1, op->name);
}

/* Records that the new one makes needless go: whoever is ordered after this access is ordered after
 * those that it covers. */
static void check(emu_alloc *a, access now, const emu_op *op)
{
    int kept = 0;
    bool told = false;
    uint32_t self = emu_stream_id(op->stream);
    for (int i = 0; i < a->record_count; i++) {
        emu_record r = a->records[i];
        bool before = op->clock.at[r.actor] >= r.epoch;
        bool same = r.actor == self && r.epoch == op->epoch;
        bool overlap = r.lo < now.hi && now.lo < r.hi;
        if (overlap && !before && !told && r.actor != self && (now.write || r.write)) {
            told = true;
            tell(a, &now, op, &r);
        }
        bool covered = before && !same && now.lo <= r.lo && r.hi <= now.hi;
        if (covered && (now.write || !r.write))
            continue;
        a->records[kept++] = r;
    }
    a->record_count = kept;
    remember(a, &now, op);
}

static bool bit(const uint8_t *bits, size_t i)
{
    return bits[i / 8] >> i % 8 & 1;
}

/* First byte from `i` on, below `end`, whose bit is `value`. */
static size_t scan(const uint8_t *bits, size_t i, size_t end, bool value)
{
    uint8_t plain = value ? 0 : 255;
    while (i < end) {
        if (i % 8 == 0 && bits[i / 8] == plain)
            i += 8;
        else if (bit(bits, i) == value)
            return i;
        else
            i++;
    }
    return end;
}

/* What a kernel touched, exactly. */
static void check_bits(emu_alloc *a, uint8_t *bits, bool write, const emu_op *op)
{
    size_t end = a->hi < a->size ? a->hi : a->size, i = a->lo;
    uint64_t base = (uint64_t)(a->mem - emu_arena.data);
    bits += base / 8; /* allocations begin at whole bytes of the map */
    while ((i = scan(bits, i, end, true)) < end) {
        size_t hi = scan(bits, i, end, false);
        check(a, (access){i, hi, write}, op);
        i = hi;
    }
    memset(bits + a->lo / 8, 0, end / 8 + 1 - a->lo / 8);
}

static emu_alloc *first_touched;

void emu_touched_add(emu_alloc *a)
{
    a->touched = true;
    if (a->device < 0)
        return; /* pinned memory was checked at submission */
    a->next_touched = first_touched;
    first_touched = a;
}

static void check_init(const emu_alloc *a, size_t lo, size_t hi, const emu_op *op)
{
    const uint8_t *init = emu_arena.init + (a->mem - emu_arena.data) / 8;
    size_t at = scan(init, lo, hi, false);
    if (at < hi)
        emu_report("UNINIT",
                   "'%s' reads byte %zu of the %zu-byte allocation %#lx, which nothing has "
                   "written",
                   op->name, at, a->size, a->va);
}

void emu_race_finish(emu_op *op)
{
    for (int i = 0; i < op->range_count; i++) {
        emu_alloc *a = emu_find(op->range[i].address);
        if (!a || a->freed || a->device < 0)
            continue;
        size_t lo = op->range[i].address - a->va, hi = lo + op->range[i].bytes;
        hi = hi < a->size ? hi : a->size;
        if (!op->range[i].write)
            check_init(a, lo, hi, op);
        check(a, (access){lo, hi, op->range[i].write}, op);
        if (op->range[i].write)
            emu_bits_set(emu_arena.init + (a->mem - emu_arena.data) / 8, lo, hi);
    }
    while (first_touched) {
        emu_alloc *a = first_touched;
        first_touched = a->next_touched;
        a->touched = false;
        if (!a->freed) {
            check_bits(a, emu_arena.read, false, op);
            check_bits(a, emu_arena.wrote, true, op);
        }
        a->lo = SIZE_MAX;
        a->hi = 0;
    }
}

void emu_race_pinned(emu_op *op)
{
    for (int i = 0; i < op->range_count; i++) {
        emu_alloc *a = emu_find(op->range[i].address);
        if (!a || a->device >= 0 || a->freed)
            continue;
        size_t lo = op->range[i].address - a->va;
        check(a, (access){lo, lo + op->range[i].bytes, op->range[i].write}, op);
        emu_pinned_protect(a);
    }
}
