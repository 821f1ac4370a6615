/* What PHP is like with a pool's settings, for who looks at it from outside (`tokiophp doctor`). */
#ifndef ENGINE_PHP_FACTS_H
#define ENGINE_PHP_FACTS_H

struct cli_options;
struct pool_conf;

/* In a process of its own, which ends soon: loads PHP and writes a line for each fact to fd, "module NAME" as
 * composer writes it (lower case, - for a blank), and "ini NAME VALUE" for a few settings. 0 or -1 (PHP does
 * not start; it has said why). */
int php_facts_write(const struct cli_options *cli, const struct pool_conf *pool, int fd);

#endif
