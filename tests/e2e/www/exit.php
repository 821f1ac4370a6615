<?php register_shutdown_function(function () { echo ' shutdown'; }); ob_start(); echo 'inside'; exit(' exit');
