<?php echo 'before '; no_such_function();
