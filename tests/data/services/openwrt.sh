#!/bin/sh
# Stands in for OpenWrt's rc.common, functions.sh and procd: reads a file of UCI, calls the functions of a service, and
# prints what procd is asked for, a line each.
#   openwrt.sh SERVICE UCI-FILE FUNCTION
# shellcheck shell=dash
# shellcheck disable=SC1090,SC2034

service=$1 uci=$2 wanted=$3

# An option is a variable OPTION_<section>_<name>; a list has an item a line. SECTIONS has a line "type name" each.
config_load() {
	SECTIONS='' section=''
	local n=0 keyword name value
	while read -r keyword name value; do
		value=${value#\'} value=${value%\'}
		name=${name#\'} name=${name%\'}
		case $keyword in
			config)
				n=$((n + 1))
				section=${value:-cfg$n}
				SECTIONS="$SECTIONS$name $section
"
				;;
			option) eval "OPTION_${section}_$name=\$value" ;;
			list) eval "OPTION_${section}_$name=\"\${OPTION_${section}_$name:-}\$value
\"" ;;
		esac
	done <"$uci"
}

config_get() { # variable section option [default]
	eval "$1=\${OPTION_${2}_$3:-\${4:-}}"
}

config_get_bool() {
	config_get "$@"
}

config_foreach() { # function type
	local type name
	printf '%s' "$SECTIONS" | while read -r type name; do
		[ "$type" != "$2" ] || "$1" "$name"
	done
}

config_list_foreach() { # section option function
	local items item ifs=$IFS
	config_get items "$1" "$2"
	IFS='
'
	for item in $items; do
		IFS=$ifs
		"$3" "$item"
	done
	IFS=$ifs
}

procd_open_instance() { echo open; }
procd_close_instance() { echo close; }
procd_set_param() { echo "set $*"; }
procd_send_signal() { echo "signal $*"; }
procd_add_reload_trigger() { echo "trigger $*"; }

. "$service"
"$wanted"
