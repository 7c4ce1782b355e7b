"""Bad inputs of `jleaks sweep`: flags and combinations, and a work directory that is not its own."""

from .case import Bad, Table
from .worlds import text

HUGE = "9" * 5000
_PLANS = {
    "list": "[]",
    "plan_null": '{"plan": null}',
    "plan_text": '{"plan": "mine", "fingerprint": "x", "format": 2}',
    "plan_number": '{"plan": 3, "fingerprint": "x", "format": 2}',
    "plan_list": '{"plan": [1], "fingerprint": "x", "format": 2}',
    "brackets": "[" * 100_000,
    "empty": "",
    "text": "not JSON",
    "nul": "\0" * 100,
}


def _flag(name, flags, says, **more):
    return Bad(name, [flags] if isinstance(flags, str) else flags, says, **more)


SWEEP = Table(
    "sweep",
    [
        _flag("task", "--tasks=sonar", ["unknown task 'sonar'", "location"]),
        _flag("no_task", "--tasks=", ["--tasks names no task", "location"]),
        _flag("empty_task", "--tasks=location,,mnist", ["unknown task ''"]),
        _flag("num_seeds_0", "--num_seeds=0", ["num_seeds of", "is 0", "at most 100000"]),
        _flag("num_seeds_negative", "--num_seeds=-1", ["num_seeds", "-1"]),
        _flag("num_seeds_huge", "--num_seeds=1000000000", ["num_seeds", "1000000000"]),
        _flag("num_seeds_digits", f"--num_seeds={HUGE}", ["num_seeds"]),
        _flag("num_seeds_text", "--num_seeds=many", ["num_seeds"]),
        _flag("num_seeds_squared", "--num_seeds=\u00b2", ["num_seeds"]),
        _flag("scale_nan", "--scale=nan", ["scale is nan"]),
        _flag("scale_0", "--scale=0", ["scale is 0"]),
        _flag("scale_negative", "--scale=-0.5", ["scale is -0.5"]),
        _flag("scale_above", "--scale=2", ["scale is 2"]),
        _flag(
            "two_at_once",
            ["--learning_rate=inf", "--epochs=0"],
            ["learning_rate is inf", "epochs is 0"],
        ),
        _flag("learning_rate_subnormal", "--learning_rate=1e-46", ["learning_rate is 1e-46"]),
        _flag("learning_rate_0", "--learning_rate=0", ["learning_rate is 0"]),
        _flag("learning_rate_text", "--learning_rate=fast", ["learning_rate"]),
        _flag("learning_rate_1e39", "--learning_rate=1e39", ["learning_rate is 1e+39"]),
        _flag("l2_negative", "--l2=-1", ["l2 is -1"]),
        _flag("l2_nan", "--l2=nan", ["l2 is nan"]),
        _flag("epochs_text", "--epochs=many", ["epochs"]),
        _flag("epochs_fraction", "--epochs=1.5", ["epochs"]),
        _flag("epochs_huge", "--epochs=3000000000", ["epochs is 3000000000"]),
        _flag(
            "batch_of_face",
            ["--tasks=face", "--batch_size=900"],
            ["face: batch_size is 900", "only 400 of 1867"],
        ),
        _flag("batch_0", "--batch_size=0", ["batch_size is 0"]),
        _flag("hidden_0", "--hidden=0", ["hidden", "0"]),
        _flag("hidden_text", "--hidden=a", ["--hidden is a", "whole numbers"]),
        _flag("hidden_1e30", "--hidden=1e30", ["--hidden is 1e30", "whole numbers"]),
        _flag("hidden_digits", f"--hidden={HUGE}", ["--hidden"]),
        _flag("hidden_squared", "--hidden=\u00b2", ["--hidden is \u00b2"]),
        _flag("hidden_2_to_40", "--hidden=1099511627776", ["hidden"]),
        _flag("hidden_huge", "--hidden=2000000000", ["location"]),
        _flag("model", "--model=resnet9000", ["resnet9000", "mlp"]),
        _flag("model_width", "--model=mlp:x", ["mlp:x"]),
        _flag("activation", "--activation=gelu", ["activation", "tanh"]),
        _flag("schedule", "--schedule=zigzag", ["schedule"]),
        _flag("precision", "--precision=float8", ["precision", "bfloat16"]),
        _flag("top_huge", "--top=1000000000", ["top"]),
        _flag("top_0", "--top=0", ["top is 0"]),
        _flag("adversary", "--adversaries=4", ["--adversaries is 4"]),
        _flag("no_adversary", "--adversaries=", ["adversaries"]),
        _flag("random_points_huge", "--num_random_points=100000000000", ["num_random_points"]),
        _flag("percentile_100", "--percentile=100", ["percentile is 100"]),
        _flag("membership", "--membership=maybe", ["membership"]),
        _flag("defence", "--defence=walls", ["walls", "dropout"]),
        _flag("defence_strength", "--defence=dropout:1.5", ["dropout", "1.5"]),
        _flag("defence_networks", "--defence=selena:10,25", ["SELENA's strength", "selena:25,10"]),
        _flag("defence_budget", "--defence=memguard:3", ["MemGuard's budget is 3", "[0, 2]"]),
        _flag("defence_share", "--defence=adversarial:1,1", ["share is 1", "(0, 1)"]),
        _flag("defence_digits", f"--defence=top_k:{HUGE}", ["top_k"]),
        _flag("attacker", "--attacker=clever", ["attacker"]),
        _flag("task_seeds", "--task_seeds=adult", ["--task_seeds has 'adult'", "TASK=COUNT"]),
        _flag("task_seeds_of_another", ["--tasks=location", "--task_seeds=adult=1"], ["adult=1"]),
        _flag(
            "task_seeds_squared", "--task_seeds=adult=\u00b2", ["--task_seeds has 'adult=\u00b2'"]
        ),
        _flag("task_seeds_digits", f"--task_seeds=adult={HUGE}", ["--task_seeds has 'adult=999"]),
        _flag(
            "attack_recipe",
            "--attack_recipe=best",
            ["attack_recipe", "stable", "ml_leaks", "released"],
        ),
        _flag(
            "attack_batch",
            "--attack_batch_size=5000",
            ["attack's batch_size is 5000", "--attack_batch_size"],
        ),
        _flag("no_such_flag", "--no_such_flag=1", ["no_such_flag"]),
        _flag("stray", "stray", ["not a flag: stray"]),
        _flag("num_devices", "--num_devices=9999", ["num_devices is 9999"]),
        _flag("num_cpu_devices_0", "--num_cpu_devices=0", ["num_cpu_devices"]),
        _flag("chunk_seconds_inf", "--chunk_seconds=inf", ["chunk_seconds is inf"]),
        _flag("checkpoint_seconds", "--checkpoint_seconds=-1", ["checkpoint_seconds is -1"]),
        _flag("models_per_call_0", "--models_per_call=0", ["models_per_call is 0"]),
        _flag("kernels", "--kernels=cuda", ["kernels"]),
        _flag("convolution", "--convolution=fft", ["convolution"]),
        _flag("stopped_status", "--stopped_status=256", ["stopped_status"]),
        _flag("log_to", ["--log_to=paper"], ["paper", "tensorboard"]),
        _flag(
            "target_and_defence",
            ["--target_epsilon=3", "--defence=dropout:0.5"],
            ["--defence is dropout:0.5 and --target_epsilon 3", "one of the two"],
        ),
        _flag("delta_alone", "--delta=1e-6", ["--delta is 1e-06", "--target_epsilon"]),
        _flag("target_epsilon_0", "--target_epsilon=0", ["epsilon"]),
        _flag("data_dir_nowhere", "--data_dir=/nowhere/at/all", ["not prepared", "launch.prepare"]),
        _flag(
            "data_dir_store",
            "--data_dir=gs://bucket/data",
            ["--data_dir is gs://bucket/data", "gcsfuse"],
        ),
        _flag("data_dir_empty", "--data_dir=", ["--data_dir"]),
        _flag("data_dir_escape", ["--data_dir={}/\x1b[2Jx", "--tasks=location"], ["not prepared"]),
        _flag("plugin_nowhere", "--plugin=nowhere.py", ["nowhere.py"]),
        _flag("plugin_module", "--plugin=no.such.module", ["no.such.module"]),
        _flag("label_alone", "--label=y", ["--label says something of --data"]),
        _flag("network_and_model", ["--network={}/n.py:N", "--model=mlp"], ["n.py"]),
        _flag("workdir_empty", "--workdir=", ["--workdir"]),
        _flag("workdir_long", "--workdir={}/" + "x" * 300, ["File name too long"]),
        _flag(
            "workdir_in_a_file",
            "--workdir={}/file/w",
            ["cannot write"],
            files=lambda f: (f / "file").write_text("in the way"),
        ),
        _flag("workdir_markup", ["--workdir={}/[/b]m", "--epochs=0"], ["epochs is 0"]),
        _flag("workdir_surrogate", "--workdir={}/\udcff", ["workdir"]),
        _flag("flagfile_nowhere", "--flagfile=nowhere.flags", ["nowhere.flags"]),
        *(
            _flag(f"plan_{name}", [], "plan.json", files=text("out/plan.json", content))
            for name, content in _PLANS.items()
        ),
    ],
    ("--workdir={}/out", "--kernels=xla", "--tasks=location", "--num_seeds=1", "--scale=0.01"),
)
