#!/usr/bin/env bash
# An agent in bash and curl: it answers calls, calls others, publishes and listens, without the SDK.
#
#   meshnode run examples/shell/sensor.sh
#   meshnode call shell.machine
#   meshnode call shell.count text="a b c"          # it asks words.count, wherever that runs
#   meshnode publish topic/example/greet '"hello"'  # it answers with an event of its own
set -euo pipefail

say() { # VERB JSON
    curl -sS --unix-socket "$MESHNODE_API" -X POST --data-binary "$2" "http://node/v1/bus/$token/$1"
}

called() { # DATA: {"call_id": ..., "skill": ..., "arguments": {...}, "deadline_ms": ...}
    [[ $1 =~ ^\{\"call_id\":\"([0-9a-f]+)\",\"skill\":\"([^\"]+)\",\"arguments\":(\{.*\}),\"deadline_ms\" ]]
    local id=${BASH_REMATCH[1]} skill=${BASH_REMATCH[2]} arguments=${BASH_REMATCH[3]} answer
    case $skill in
    shell.machine)
        read -r load _ </proc/loadavg
        say answer "{\"call_id\": \"$id\", \"result\": {\"host\": \"$HOSTNAME\", \"load\": $load}}"
        ;;
    shell.count)
        answer=$(say call "{\"skill\": \"words.count\", \"arguments\": $arguments}")
        if [[ $answer =~ ^\{\"result\":(.*)\}$ ]]; then
            say answer "{\"call_id\": \"$id\", \"result\": ${BASH_REMATCH[1]}}"
        else
            echo "words.count failed: $answer" >&2
            say fail "{\"call_id\": \"$id\", \"code\": \"no-count\", \"message\": \"words.count did not answer\"}"
        fi
        ;;
    esac
}

registration=$(
    cat <<JSON
{"instance": "$MESHNODE_INSTANCE", "ticket": "$MESHNODE_TICKET", "topics": ["topic/example/greet"], "skills": [
  {"name": "shell.machine", "description": "Name and load of the machine it runs on.", "idempotent": true},
  {"name": "shell.count", "description": "Count words by asking another agent.",
   "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}]}
JSON
)

event='' token=''
while IFS= read -r line; do
    case $line in
    'event: '*) event=${line#event: } ;;
    'data: '*)
        data=${line#data: }
        case $event in
        registered) [[ $data =~ \"token\":\"([0-9a-f]+)\" ]] && token=${BASH_REMATCH[1]} ;;
        call) called "$data" >/dev/null & ;; # beside the next one
        event) say publish "{\"topic\": \"topic/example/greeted\", \"data\": $data}" >/dev/null ;;
        refused) echo "refused: $data" >&2 && exit 1 ;;
        stop) exit 0 ;;
        esac
        ;;
    esac
done < <(curl -sSN --unix-socket "$MESHNODE_API" -X POST --data-binary "$registration" http://node/v1/bus)
echo 'the daemon is gone' >&2
exit 1
