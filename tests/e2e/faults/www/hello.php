<?php
echo "Hello from ", "tokiophp\n";
