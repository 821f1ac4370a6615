<?php
function a_function(int $n): array
{
    return array_map(fn($i) => ['number' => $i, 'text' => "number $i"], range(1, $n));
}

class AClass
{
    private array $things = ['one' => 1, 'two' => 2, 'three' => [3, 3, 3]];

    public function sum(): int
    {
        return array_sum(array_map(fn($t) => is_array($t) ? count($t) : $t, $this->things));
    }
}

echo count(a_function(20)), ' ', (new AClass())->sum(), "\n";
