/* Functions that send a head before the body, and interim answers. On a worker's thread inside a request. */
#include "engine/php/functions.h"

#include "engine/php/sapi.h"

/* The one parameter, 200 if it is left out. False: an error has been thrown. */
static bool take_status(INTERNAL_FUNCTION_PARAMETERS, zend_long *status)
{
    (void)return_value;
    *status = 200;
    ZEND_PARSE_PARAMETERS_START(0, 1)
    Z_PARAM_OPTIONAL
    Z_PARAM_LONG(*status)
    ZEND_PARSE_PARAMETERS_END_EX(return false);
    if (*status < 100 || *status > 599) {
        zend_argument_value_error(1, "must be between 100 and 599");
        return false;
    }
    return true;
}

ZEND_FUNCTION(tokio_send_headers)
{
    zend_long status;

    if (!take_status(INTERNAL_FUNCTION_PARAM_PASSTHRU, &status)) {
        RETURN_THROWS();
    }
    if (!php_thread || !php_thread->request || SG(headers_sent)) {
        RETURN_FALSE;
    }
    if (status < 200) {
        RETURN_BOOL(sapi_send_interim((int)status));
    }
    if (ZEND_NUM_ARGS() > 0) {
        sapi_header_op(SAPI_HEADER_SET_STATUS, (void *)(uintptr_t)status);
    }
    RETURN_BOOL(sapi_send_head_now());
}

/* A status below 200 is an interim answer of its own. The numbers are PHP's: 1 = has left, 3 = could not; 0 =
 * the head has left now or before. */
ZEND_FUNCTION(headers_send)
{
    zend_long status;

    if (!take_status(INTERNAL_FUNCTION_PARAM_PASSTHRU, &status)) {
        RETURN_THROWS();
    }
    if (status < 200) {
        RETURN_LONG(sapi_send_interim((int)status) ? SAPI_HEADER_SENT_SUCCESSFULLY : SAPI_HEADER_SEND_FAILED);
    }
    if (!SG(headers_sent)) {
        sapi_header_op(SAPI_HEADER_SET_STATUS, (void *)(uintptr_t)status);
    }
    RETURN_LONG(sapi_send_headers() == SUCCESS ? 0 : -1);
}
