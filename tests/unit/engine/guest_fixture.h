/* One guest without a host: a spec, a moment and a storage of the test's own. */
#ifndef ENGINE_TEST_GUEST_FIXTURE_H
#define ENGINE_TEST_GUEST_FIXTURE_H

#include "base/str.h"
#include "engine/guest/guest.h"

typedef struct guest_fixture {
    reid_guest_env env;
    reid_guest_spec spec;
    reid_event_storage *storage;
    reid_moment moment; /* after_step of iteration 7 of 100, lr 0.5 */
    reid_guest *guest;
    reid_wishes wishes; /* of the newest call */
    reid_error err;     /* of the newest open or call */
} guest_fixture;

/* Options end with NULL. Nothing is opened yet. */
void guest_fixture_init(guest_fixture *f, const char *kind, const char *source,
                        const char *const *options);
void guest_fixture_fini(guest_fixture *f);
reid_status guest_fixture_open(guest_fixture *f);
reid_status guest_fixture_call(guest_fixture *f, reid_point point, int64_t iter);
/* What the newest call wished for: "set lr=0.05; put x=1; stop 'why'; checkpoint; evaluate; skip".
 * Valid until the next one. */
const char *guest_fixture_wishes(guest_fixture *f);
/* The guest's state as JSON (caller frees). */
char *guest_fixture_save(guest_fixture *f);
reid_status guest_fixture_load(guest_fixture *f, const char *json);
/* Closes the guest and opens it anew. */
void guest_fixture_reopen(guest_fixture *f);

/* A script with `body` as its after_step: opens and calls it once. REID_OK or the error of either,
 * whose sentence is copied. */
reid_status guest_run_lua(const char *body, char ret_text[1024]);
/* Fails the test unless the body runs, or fails with the words in its sentence. */
void guest_lua_works(const char *body);
void guest_lua_fails(const char *body, const char *words);

#endif
