#include "base/place.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

/* A variable that is set to something, else NULL. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* A folder named by an XDG variable; relative ones are to be ignored (XDG Base Directory
 * Specification). */
static const char *xdg_folder(const char *name)
{
    const char *value = variable(name);
    return value && *value == '/' ? value : NULL;
}

char *reid_place_state_dir(const char *option)
{
    const char *given = option && *option ? option : variable("REIDD_STATE_DIR");
    if (given)
        return reid_path_absolute(given);
    if (geteuid() == 0)
        return reid_xstrdup("/var/lib/reidd");
    given = xdg_folder("XDG_STATE_HOME");
    return given ? reid_path_join(given, "reidd") : reid_path_absolute("~/.local/state/reidd");
}

char *reid_place_address(const char *option, const char *state_dir_option)
{
    const char *given = option && *option ? option : variable("REIDD_HOST");
    if (given && !reid_str_starts(given, "unix:") && strchr(given, '/') && !strstr(given, "://")) {
        REID_AUTOFREE char *path = reid_path_absolute(given);
        return reid_xasprintf("unix:%s", path);
    }
    if (given)
        return reid_xstrdup(given);
    if (geteuid() == 0)
        return reid_xstrdup("unix:/run/reidd/reidd.sock");
    given = xdg_folder("XDG_RUNTIME_DIR");
    if (given)
        return reid_xasprintf("unix:%s/reidd/reidd.sock", given);
    REID_AUTOFREE char *state = reid_place_state_dir(state_dir_option);
    return reid_xasprintf("unix:%s/reidd.sock", state);
}
