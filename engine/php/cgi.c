#include "engine/php/cgi.h"

ZEND_DECLARE_MODULE_GLOBALS(cgi)

void cgi_publish_rules(void)
{
    cgi_rules.fix_pathinfo = CGIG(fix_pathinfo);
    cgi_rules.discard_path = CGIG(discard_path);
    cgi_rules.nph = CGIG(nph);
    cgi_rules.rfc2616_headers = CGIG(rfc2616_headers);
    cgi_rules.log_to_stderr = CGIG(logging);
    cgi_rules.doc_root = PG(doc_root) && *PG(doc_root) ? PG(doc_root) : NULL;
}
