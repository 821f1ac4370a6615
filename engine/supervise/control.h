/* The control socket: `tokiophp ctl COMMAND`. A unix socket of mode 0600 and lines of text: the client sends
 * one line, the supervisor answers with lines and closes. Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_CONTROL_H
#define ENGINE_SUPERVISE_CONTROL_H

#include <stdint.h>

struct supervisor;
struct control_client;

int control_open(struct supervisor *s); /* 0 (also when none is configured) or -1 (reported) */
void control_accept(struct supervisor *s);
void control_read(struct supervisor *s, struct control_client *client);
void control_tick(struct supervisor *s, uint64_t now); /* clients that say nothing, or have been answered */
uint64_t control_next_us(const struct supervisor *s);
void control_close(struct supervisor *s);
struct control_client *control_client_next(const struct control_client *client);
int control_client_fd(const struct control_client *client);

#endif
