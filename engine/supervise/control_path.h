/* Where the control socket is when nobody has said so: one rule for the server that makes it and for `ctl`
 * and `top` that look for it. */
#ifndef ENGINE_SUPERVISE_CONTROL_PATH_H
#define ENGINE_SUPERVISE_CONTROL_PATH_H

#include <stddef.h>

/* "control.sock" in the first of these that there is:
 *   $RUNTIME_DIRECTORY       systemd's, for the unit's own processes (the first of several);
 *   /run/tokiophp            root;
 *   $XDG_RUNTIME_DIR/tokiophp  another user;
 *   $TMPDIR/tokiophp-UID     a user without one: a container, cron (TMPDIR's default is /tmp).
 * Returns 0, or -1 where the path is too long. */
int control_default_path(char *path, size_t size);

/* Makes the path's last folder, for its owner only where others could make it, too. Returns 0, or -1 with
 * errno where it cannot be made or belongs to somebody else. */
int control_make_folder(const char *path);
/* The same for any socket that is to be in the usual folder, which systemd makes, and a start by hand has to.
 */
void control_make_usual_folder(const char *path);

#endif
